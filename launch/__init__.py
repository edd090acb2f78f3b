"""Commands, each started with ``python -m launch.<name>``."""
