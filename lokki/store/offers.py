"""Which waiting runs a service takes: others, of other flows and Pythons, share its journal."""

from __future__ import annotations

import json
import os
from collections.abc import Set
from dataclasses import dataclass
from typing import Any, NamedTuple

from lokki.store.storable import storable


class Needs(NamedTuple):
    """What a service must be to take a run; None: it does not matter.

    It offers the file or module ``place``, is of the Python whose ``sys.prefix`` is ``prefix``, and
    was started in ``folder``, which decides what a module's name means.
    """

    place: str | None
    prefix: str | None
    folder: str | None


@dataclass(frozen=True, slots=True)
class Offer:
    """What a service is: the files, by their paths, and modules that it offers, and its Python."""

    places: Set[str]
    prefix: str
    folder: str

    def needs(self, source: str) -> Needs:
        """What a service must be to take a run of ``source`` that was queued with this one.

        One of a file that is not offered is for this one, and its successors in its folder.
        """
        place = source.rpartition(":")[0]
        if place not in self.places:
            return Needs(None, self.prefix, self.folder)
        return Needs(place, self.prefix, None if os.path.isabs(place) else self.folder)

    @property
    def values(self) -> tuple[Any, ...]:
        """The values of `TAKEN`."""
        places = json.dumps(sorted(storable(tuple(self.places))))
        return self.prefix, self.folder, places


TAKEN = (
    "(prefix IS NULL OR prefix = ?) AND (folder IS NULL OR folder = ?)"
    " AND (place IS NULL OR place IN (SELECT value FROM json_each(?)))"
)
"""A condition on a row of ``jobs``: a service takes it; see `Offer.values`."""
