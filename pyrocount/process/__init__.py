"""What a process has: its standard streams, progress bars on them, the state of its libraries, and its partners."""
