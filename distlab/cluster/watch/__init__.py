"""While a run goes on: which ranks have fallen silent, what they do, and whether Ray is there."""
