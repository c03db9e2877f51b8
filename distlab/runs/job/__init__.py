"""The command that hands itself over to a Ray elsewhere (``cluster=job``)."""
