"""Imports Dask without what that does to the pickles of this whole process.

Those of exceptions and tracebacks would need tblib to be read: a result that is one could not be
read where Dask is not installed.
"""

from __future__ import annotations

import copyreg
from importlib import import_module
from types import TracebackType
from typing import Any


def imported(name: str) -> Any:
    """A module of Dask, whose names have no types."""
    before = copyreg.dispatch_table.copy()
    try:
        return import_module(name)
    finally:
        for each in copyreg.dispatch_table.keys() - before.keys():
            if issubclass(each, BaseException | TracebackType):
                del copyreg.dispatch_table[each]
