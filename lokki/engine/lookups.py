"""Looks up results to reuse: for the first calls of a slice together, or for one call.

A lane does so before the slice goes anywhere, in one query.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from time import time
from typing import Any

from lokki.caching import key_of
from lokki.engine.items import Slice
from lokki.engine.reuse import adopted, loaded
from lokki.engine.storing import Found, Lookup, StoreRequest, answered
from lokki.errors import LokkiError
from lokki.store.cached import Cached, cached
from lokki.store.references import Reference
from lokki.store.sql import Read


class Reuse:
    """Finds results to reuse, in a journal; ``fetch`` gets a payload. For threads of lanes."""

    def __init__(self, read: Read, fetch: Callable[[str], bytes]) -> None:
        self._read = read
        self._fetch = fetch

    def find(self, lookup: Lookup) -> Found | None:
        """One result, if there is one."""
        with suppress(LokkiError):  # a run that cannot read its journal ends by itself
            for row in cached(self._read, [lookup.key], lookup.seconds).values():
                return self._found(row)
        return None

    def _found(self, row: Cached) -> Found | None:
        if row.packed is not None:
            return Found(row.packed, large=False)
        try:
            reference = Reference.parse(row.ref or "")
            data = self._fetch(reference.key)
            reference.check(data)
        except Exception:  # perhaps of a store's own type
            return None
        return Found(data, large=True)

    def serve(self, done: Slice, put: Callable[[StoreRequest], Any]) -> None:
        """Look up the first calls of a slice: items that need no call leave the claim.

        Those with further inner steps continue with the next one.
        """
        work, claim = done.work, done.claim
        call, *others = work.calls
        caching = call.caching
        if caching is None:
            return
        began, works = time(), claim.taken()
        for index, position, _ in works:
            if position == 0:
                done.keys[index] = key_of(caching, work.inputs[index])
        rows: dict[str, Cached] = {}
        if caching.looks:
            with suppress(LokkiError):
                wanted = [key for key in done.keys.values() if key is not None]
                rows = cached(self._read, wanted, caching.seconds)
        left = []
        for each in works:
            index, position, _ = each
            row = rows.get(done.keys[index] or "") if position == 0 else None
            found = None if row is None or work.writer.closed else self._found(row)
            reused = None if found is None else loaded(found)
            if reused is None:
                left.append(each)
            elif others:
                done.reuse_first(index, reused.value)
                left.append((index, 1, 1))
            else:
                try:
                    stored = answered(adopted(work, 0, index, reused.found), put)
                except Exception:  # the result of a call would not be stored either: the item fails
                    left.append(each)
                else:
                    done.reuse(index, reused.value, began, *stored)
        claim.works.extend(left)
