"""Sweeps: many runs of one config, and where they run."""
