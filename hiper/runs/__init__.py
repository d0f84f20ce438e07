"""What stands in the folders of runs, and how it is read back."""
