"""What the project needs around itself: checks, and servers for tests and demos."""
