"""The rehearsal of all tests in here, and a flow's result where it is compared."""

from lokki.testing import rehearsal

__all__ = ["rehearsal"]
