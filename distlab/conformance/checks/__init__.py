"""What is compared: pure functions of what the ranks saw."""
