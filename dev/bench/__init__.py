"""How fast this is against the obvious alternative: `python -m dev.bench`, `make bench`."""
