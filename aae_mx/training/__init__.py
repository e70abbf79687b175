"""Training: the loop, what its steps work on, and the optimizers. It knows no mode."""
