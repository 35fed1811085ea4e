"""All that a run's steps have shown, page by page."""

from __future__ import annotations

from collections.abc import Iterator

from lokki.backends.backend import Backend
from lokki.model.attachment import Attachment

_PAGE = 1_000


def attachments(backend: Backend, run_id: str, item: int | None = None) -> Iterator[Attachment]:
    """What a run's steps have shown, in order; of an item, if one is given."""
    after = None
    while True:
        page = backend.attachments(run_id, item=item, after=after, limit=_PAGE)
        yield from page
        if len(page) < _PAGE:
            return
        after = page[-1].name
