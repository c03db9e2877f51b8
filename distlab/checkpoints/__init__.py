"""What a run can go on from: its state, and the files that keep it."""
