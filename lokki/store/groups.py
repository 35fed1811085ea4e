"""Failures that are alike: the same type of error and message, but for numbers, at one place."""

from __future__ import annotations

import re
from hashlib import sha1

_NUMBER = re.compile(r"0x[0-9a-fA-F]+|\d+(?:\.\d+)*")
_FRAME = re.compile(r'^[ |]*File "([^"]+)", line (\d+), in (.+)$', re.MULTILINE)


def folded(message: str) -> str:
    """A message with its numbers, addresses and versions as ``N``."""
    return _NUMBER.sub("N", message)


def place(traceback: str) -> tuple[str, int, str] | None:
    """The innermost frame of a traceback that was cut to the user's: file, line, function.

    Of an exception group it is the last one's.
    """
    frames = _FRAME.findall(traceback)
    if not frames:
        return None
    file, line, function = frames[-1]
    return file, int(line), function


def group(kind: str, message: str, traceback: str) -> str:
    """A short name for the failures that are like this one; editing other lines leaves it."""
    where = place(traceback)
    file, function = (where[0], where[2]) if where else ("", "")
    alike = "\0".join((kind, folded(message), file, function))
    return sha1(alike.encode("utf-8", "replace"), usedforsecurity=False).hexdigest()[:6]
