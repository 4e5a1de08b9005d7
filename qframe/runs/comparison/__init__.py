"""The comparison of runs that `qframe compare` writes."""
