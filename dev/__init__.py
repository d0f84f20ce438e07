"""For people who work on this project: benches and comparisons with recordings. Not part of the installed package."""
