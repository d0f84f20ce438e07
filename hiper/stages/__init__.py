"""The steps of the pipeline: each reads files, writes files atomically, and is called by one subcommand of `hiper`."""
