"""The same experiment as a user writes it in this framework; its lines are counted."""
