"""What came back: the events of ranks, the record of a run, the machine and its software."""
