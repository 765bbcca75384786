"""The run file: its sections, and reading and writing it."""
