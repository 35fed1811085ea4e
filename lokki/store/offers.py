"""Matches waiting runs with services: several services, flows and Pythons share a journal."""

from __future__ import annotations

import json
import os
from collections.abc import Set
from dataclasses import dataclass
from typing import Any, NamedTuple

from lokki.store.storable import storable


class Needs(NamedTuple):
    """What a service needs to take a run; None: anything will do.

    It must offer the file or module ``source``, have the Python whose ``sys.prefix`` is ``prefix``,
    and have been started in ``folder``, which decides what a module's name means.
    """

    source: str | None
    prefix: str | None
    folder: str | None


@dataclass(frozen=True, slots=True)
class Offer:
    """What a service offers: files, by path, and modules; and its Python."""

    sources: Set[str]
    prefix: str
    folder: str

    def needs(self, source: str) -> Needs:
        """What a service needs to take a run of ``source`` that was queued with this one.

        A run of a file that is not offered waits for this service, or a successor in its folder.
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
"""The condition on a row of ``jobs`` that a service takes; see `Offer.values`."""
