"""What steps show: texts, tables, pictures and pages that belong to a call."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass

from lokki.model.base import model
from lokki.model.times import Time, utc

MARKDOWN = "text/markdown"
TABLE = "application/json"
HTML = "text/html"
PREVIEW = "application/vnd.lokki.preview+json"
"""A table like TABLE: the beginning of a result, which is not among what steps have shown."""
SVG = "image/svg+xml"
ENDINGS = {
    MARKDOWN: "md",
    TABLE: "csv",
    HTML: "html",
    SVG: "svg",
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/webp": "webp",
    "image/gif": "gif",
}
"""The types of what is shown, and how the names of their files end."""

_PIECE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Shown:
    """Something that a call has shown: its ``number``-th, counted from 0; None: its result.

    ``packed`` is the content, compressed by zlib; ``size`` its bytes before that.
    """

    step: str
    item: int | None
    attempt: int
    number: int | None
    at: float
    title: str | None
    type: str
    size: int
    packed: bytes

    def __len__(self) -> int:
        """How much it counts in a journal's queue, in rows."""
        return 1 + len(self.packed) // _PIECE_BYTES

    @property
    def name(self) -> str:
        """Its name in its run: the same if the same attempt runs again, as after a crash."""
        if self.number is None:
            return preview_name(self.step, self.item)
        item = "-" if self.item is None else self.item
        return f"{self.step}.{item}.{self.attempt}.{self.number}"


def preview_name(stage: str, item: int | None) -> str:
    """The name in a run of the preview of a result, whichever attempt made it."""
    return f"{stage}.{'-' if item is None else item}.result"


def packed(content: bytes, kind: str) -> bytes:
    """A content as it is recorded; most pictures are compressed already."""
    return zlib.compress(content, 0 if kind.startswith("image/") and kind != SVG else 6)


def unpacked(data: bytes) -> bytes:
    """A recorded content."""
    return zlib.decompress(data)


@model
class Attachment:
    """What a step has shown, without its content."""

    name: str
    """its name in the run: step, item (`-`: none), attempt and number, joined by dots"""
    step: str
    item: int | None
    attempt: int
    at: Time
    title: str | None
    type: str
    """the media type: Markdown, HTML, an image's or, for a table, JSON"""
    size: int
    """bytes of the content"""

    @property
    def file(self) -> str:
        """A good name for its file."""
        item = "" if self.item is None else f".{self.item}"
        title = re.sub(r"[^\w.-]+", "-", self.title or "").strip("-.")[:60]
        _, _, attempt, number = self.name.rsplit(".", 3)
        again = f"-attempt{attempt}" if attempt != "1" else ""
        parts = f"{self.step}{item}{again}-{int(number) + 1}"
        return f"{parts}{title and '-' + title}.{ENDINGS.get(self.type, 'bin')}"


@model
class AttachmentList:
    """A page of what a run's steps have shown, in the order in which it was shown."""

    attachments: list[Attachment]
    next: str | None
    """the `after` of the next page"""


def described(shown: Shown) -> Attachment:
    """Something shown, without its content."""
    return Attachment(
        name=shown.name,
        step=shown.step,
        item=shown.item,
        attempt=shown.attempt,
        at=utc(shown.at),
        title=shown.title,
        type=shown.type,
        size=shown.size,
    )
