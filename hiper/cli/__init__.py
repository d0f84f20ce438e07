"""The command line: one module per family of commands, nothing heavy imported before a command runs."""
