"""Texts of errors: cut in lists, complete once per item."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import NamedTuple

from lokki.model.failure import Error
from lokki.store.codec import compress, decompress
from lokki.store.storable import storable

LONGEST = 4 * 1024
"""Most characters of a message, and of a line about it."""
LONGEST_TRACEBACK = 16 * 1024
"""Most characters of a traceback."""
_WHERE = "the item has its last failure in full"


class Texts(NamedTuple):
    """A message and a traceback as in a row; ``whole`` has both, packed, if one was cut."""

    reason: str
    traceback: str
    whole: bytes | None = None

    @classmethod
    def of(cls, reason: str, traceback: str) -> Texts:
        """The texts of a failure."""
        short = shortened(reason, traceback)
        is_whole = short == (reason, traceback)
        return cls(*short, None if is_whole else _packed(*storable((reason, traceback))))

    def uncut(self) -> tuple[str, str]:
        """The original message and traceback. Raises PayloadError for damaged ones."""
        if self.whole is None:
            return self.reason, self.traceback
        reason, *parts = json.loads(decompress(self.whole))
        return reason, reason.join(parts)


def _packed(reason: str, traceback: str) -> bytes:
    """Both texts, with the message only once: a traceback ends with it."""
    parts = traceback.split(reason) if reason else [traceback]
    return compress(json.dumps([reason, *parts], ensure_ascii=False).encode())


def shortened(reason: str, traceback: str, where: str = _WHERE) -> tuple[str, str]:
    """A message and a traceback of limited length; ``where`` as in `cut`."""
    short = cut(reason, LONGEST, where)
    if short != reason:
        traceback = traceback.replace(reason, short)
    return short, _middle_cut(traceback, where)


def cut(text: str, most: int, where: str = "") -> str:
    """A text of at most ``most`` characters: for a longer one, its beginning and its length.

    ``where`` says where the full text is. A text that is already cut stays unchanged.
    """
    if len(text) <= most:
        return text
    ellipsis = _ellipsis(text, where)
    return text[: most - len(ellipsis)] + ellipsis


def _middle_cut(text: str, where: str) -> str:
    """A text of at most `LONGEST_TRACEBACK` characters: for a longer one, its start and end."""
    if len(text) <= LONGEST_TRACEBACK:
        return text
    ellipsis = f"\n{_ellipsis(text, where)}\n"
    head = (LONGEST_TRACEBACK - len(ellipsis)) // 4
    return text[:head] + ellipsis + text[len(ellipsis) + head - LONGEST_TRACEBACK :]


def _ellipsis(text: str, where: str) -> str:
    return f"… (cut: it has {len(text):,} characters{where and f'; {where}'})"


def short_error(error: Error) -> Error:
    """What ended a run, with its texts cut."""
    where = _WHERE if error.step else ""
    message, traceback = shortened(error.message, error.traceback or "", where)
    return replace(error, message=message, traceback=traceback or error.traceback)
