"""Parts of the documentation site that are made from the code: settings, contracts, configuration files, models."""
