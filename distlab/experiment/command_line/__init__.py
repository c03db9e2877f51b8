"""The command line: its words, the options that it lists, and what is refused of it."""
