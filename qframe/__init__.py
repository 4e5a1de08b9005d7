"""qframe: a declarative training framework for deep Q-learning."""

__version__ = "0.2.0"
