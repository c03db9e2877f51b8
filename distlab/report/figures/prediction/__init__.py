"""What a study says of more workers than it has: its evidence, and what follows from it."""
