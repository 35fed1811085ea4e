"""``python -m lokki``: the same as the console script."""

from lokki.cli.main import entry_point

entry_point()
