"""What a recorded run's steps have shown, for a notebook to display."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cached_property
from typing import Any

from lokki.model.attachment import TABLE, Attachment
from lokki.notebook.table import Table
from lokki.showing.bundle import bundle


class ShownValue:
    """Something that a step has shown with ``lokki.show``; a notebook displays it.

    ``type`` is its media type (of a table: JSON), ``item`` its item's index in a map, or None.
    """

    def __init__(self, about: Attachment, read: Callable[[], bytes]) -> None:
        self.title = about.title
        self.step = about.step
        self.item = about.item
        self.attempt = about.attempt
        self.type = about.type
        self._read = read

    @cached_property
    def content(self) -> bytes:
        """Its content, read when it is needed."""
        return self._read()

    def __repr__(self) -> str:
        call = self.step if self.item is None else f"{self.step}[{self.item}]"
        title = "" if self.title is None else f" {self.title!r}"
        return f"<{self.type}{title} of {call}>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        plain = {"text/plain": repr(self)}
        if self.type != TABLE:
            return plain | bundle(self.type, self.content)
        found = json.loads(self.content)
        names = found["columns"]
        rows = [dict(zip(names, row, strict=True)) for row in found["rows"]]
        return plain | {"text/html": Table(names, rows)._repr_html_()}
