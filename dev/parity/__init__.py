"""Comparisons with recordings of the original code: `python -m dev.parity`."""
