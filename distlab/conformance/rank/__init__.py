"""What a rank's process does, and how the processes are started."""
