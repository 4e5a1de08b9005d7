"""Export of trained policies to files that run without qframe."""
