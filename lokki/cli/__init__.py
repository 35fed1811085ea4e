"""The command line: ``lokki`` and ``python flow.py``."""
