"""``python -m distlab.predict``: what a study says of more workers than it had."""
