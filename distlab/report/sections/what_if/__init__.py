"""Of other jobs than the measured ones: when compiling pays, what a longer job takes."""
