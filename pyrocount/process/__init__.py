"""What a process has: its standard streams, progress bars on them, and the state of its libraries."""
