"""What this code does on a GPU, in twelve minutes: `python -m dev.gpu` (see `dev.gpu.__main__`)."""
