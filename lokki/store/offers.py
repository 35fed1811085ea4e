"""Matches waiting runs with services: several services, flows and Pythons share a journal."""

from __future__ import annotations

import json
import os
from collections.abc import Set
from dataclasses import dataclass
from typing import Any, NamedTuple

from lokki.store.storable import storable


class Needs(NamedTuple):
    """What a service must be to take a run; None: it does not matter.

    It offers the file or module ``source``, has the Python whose ``sys.prefix`` is ``prefix``, and
    was started in ``folder``, which decides what a module's name means.
    """

    source: str | None
    prefix: str | None
    folder: str | None


@dataclass(frozen=True, slots=True)
class Offer:
    """What a service is: the files, by their paths, and modules that it offers, and its Python."""

    sources: Set[str]
    prefix: str
    folder: str

    def needs(self, source: str) -> Needs:
        """What a service must be to take a run of ``source`` that was queued with this one.

        One of a file that is not offered is for this one, and its successors in its folder.
        """
        module = source.rpartition(":")[0]
        if module not in self.sources:
            return Needs(None, self.prefix, self.folder)
        return Needs(module, self.prefix, None if os.path.isabs(module) else self.folder)

    @property
    def values(self) -> tuple[Any, ...]:
        """The values of `TAKEN`."""
        sources = json.dumps(sorted(storable(tuple(self.sources))))
        return self.prefix, self.folder, sources


TAKEN = (
    "(prefix IS NULL OR prefix = ?) AND (folder IS NULL OR folder = ?)"
    " AND (place IS NULL OR place IN (SELECT value FROM json_each(?)))"
)
"""A condition on a row of ``jobs``: a service takes it; see `Offer.values`."""
