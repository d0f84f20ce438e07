"""What this code does on a GPU, in eleven minutes: `python -m dev.gpu` (see `dev.gpu.__main__`)."""
