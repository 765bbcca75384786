"""What a user reads, and what writes the generated part of it."""
