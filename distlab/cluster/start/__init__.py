"""From a command to workers: Ray started or joined, an environment that works, room, processes."""
