"""Groups failures: the same error type and message, apart from numbers, on the same line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import sha1
from os.path import dirname

from lokki.location import in_library
from lokki.model.run import FailureGroup, StackFrame
from lokki.store.texts import shortened

_UUID = r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"
_NUMBER = re.compile(rf"{_UUID}|0x[0-9a-fA-F]+|\d+(?:\.\d+)*")
_HEAD = "Traceback (most recent call last):"
_FRAME = re.compile(r'^[ |]*File "([^"]+)", line (\d+), in (.+)$', re.MULTILINE)


def folded(message: str) -> str:
    """A message with its numbers, addresses, versions and UUIDs as ``N``.

    The ids of requests, which AWS names with the end of a process, are UUIDs.
    """
    return _NUMBER.sub("N", message)


def raised_at(traceback: str) -> tuple[str, int, str] | None:
    """The innermost frame of the user's own code: file, line, function.

    For a chain of errors, and for an exception group, it is that of the last one. A step that is
    itself in a library has its frames in the folder of its file.
    """
    frames = _FRAME.findall(traceback.rpartition(_HEAD)[2])
    if not frames:
        return None
    step = frames[0][0]
    own = dirname(step) if in_library(step) else None
    file, line, function = next(
        frame
        for frame in reversed(frames)
        if not in_library(frame[0]) or (own is not None and frame[0].startswith(own))
    )
    return file, int(line), function


def failure_group(
    name: str,
    step: str,
    kind: str,
    reason: str,
    traceback: str,
    *,
    count: int,
    items: Sequence[int],
    tolerated: int = 0,
    retrying: int = 0,
    varies: bool = False,
) -> FailureGroup:
    """A group of ``count`` failures: its name, and the first of its ``items``.

    ``tolerated`` of them do not end the run, ``retrying`` have more attempts; ``varies``: the
    numbers in their messages differ.
    """
    frame = _stack_frame(raised_at(traceback))
    message, traceback = shortened(reason, traceback)
    return FailureGroup(
        id=name,
        count=count,
        failed=count - tolerated - retrying,
        retrying=retrying,
        step=step,
        type=kind,
        message=message,
        varies=varies,
        place=frame,
        items=list(items),
        tolerated=tolerated == count,
        traceback=traceback,
    )


def _stack_frame(where: tuple[str, int, str] | None) -> StackFrame | None:
    if where is None:
        return None
    file, line, function = where
    return StackFrame(file=file, line=line, function=function)


def group(kind: str, message: str, traceback: str) -> str:
    """A short name for failures like this one; edits of other lines do not change it."""
    where = raised_at(traceback)
    file, function = (where[0], where[2]) if where else ("", "")
    alike = "\0".join((kind, folded(message), file, function))
    return sha1(alike.encode("utf-8", "replace"), usedforsecurity=False).hexdigest()[:6]
