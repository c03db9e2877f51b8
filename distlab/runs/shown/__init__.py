"""What the terminal shows of runs: what is going to run, how far it is, and how it ended."""
