"""What is looked at before anything runs: what a command needs, what this machine offers.

``python -m distlab.doctor`` tells all of it; a command looks at its own part by itself.
"""
