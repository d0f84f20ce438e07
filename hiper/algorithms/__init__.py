"""Credit assignment as pure functions: arrays in, arrays out."""
