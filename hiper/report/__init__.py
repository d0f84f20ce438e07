"""From the runs of an experiment to its tables, figures and page."""
