"""What is looked at before anything runs: what a command needs, what this machine offers."""
