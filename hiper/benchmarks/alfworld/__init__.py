"""ALFWorld: its games on disk, two interchangeable engines that play them, and the comparison of the two."""
