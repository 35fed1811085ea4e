"""Tracebacks of the user's frames only."""

from __future__ import annotations

import importlib
import os
import traceback
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType

from lokki.location import installed

_NOT_USERS = (
    os.path.dirname(os.path.abspath(__file__)) + os.sep,
    os.path.dirname(importlib.__file__) + os.sep,
    "<frozen importlib",
)
"""How the file names of frames begin that are not the user's."""


def is_users(frame: FrameType) -> bool:
    """Whether a frame is the user's code, not lokki's or that of imports."""
    return not frame.f_code.co_filename.startswith(_NOT_USERS)


def users_frames(error: BaseException | None) -> TracebackType | None:
    """The traceback of an error from the user's first frame on."""
    frames = None if error is None else error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(_NOT_USERS):
        frames = frames.tb_next
    return frames


def summarized(error: BaseException) -> traceback.TracebackException:
    """The traceback of an error, summarized for printing.

    For a module that a package lacks, Python 3.15 would import the package again, for a hint.
    """
    missing = [
        (each, each.name)
        for each in _all_of(error)
        if isinstance(each, ModuleNotFoundError) and "." in (each.name or "")
    ]
    try:
        for each, _ in missing:
            each.name = None
        return traceback.TracebackException.from_exception(error)
    finally:
        for each, name in missing:
            each.name = name


def _all_of(error: BaseException) -> list[BaseException]:
    """An error, its causes, and the errors in its group."""
    found: dict[int, BaseException] = {}
    left: list[BaseException | None] = [error]
    while left:
        each = left.pop()
        if each is not None and id(each) not in found:
            found[id(each)] = each
            grouped = each.exceptions if isinstance(each, BaseExceptionGroup) else ()
            left += [each.__cause__, each.__context__, *grouped]
    return [*found.values()]


def cut(shown: traceback.TracebackException) -> int:
    """Keep only the user's frames in a traceback and in its causes; return how many are left.

    Frames of lokki and of Python's import machinery are removed.
    """
    return _kept(shown, lambda file: not file.startswith(_NOT_USERS))


def own_lines(error: BaseException) -> list[str]:
    """A traceback as lines, without the frames of any library."""
    shown = summarized(error)
    _kept(shown, lambda file: not (file.startswith(_NOT_USERS) or installed(file)))
    return "".join(shown.format()).splitlines()


def _kept(shown: traceback.TracebackException, is_kept: Callable[[str], bool]) -> int:
    """Keep the frames of some files; return how many are left."""
    count = 0
    for each in _chained(shown):
        frames = [frame for frame in each.stack if is_kept(frame.filename)]
        each.stack = traceback.StackSummary.from_list(frames)
        count += len(frames)
    return count


def _chained(shown: traceback.TracebackException) -> Iterator[traceback.TracebackException]:
    """A traceback, its causes, and those of the errors in its group."""
    left = [shown]
    while left:
        each = left.pop()
        yield each
        related = (each.__cause__, each.__context__, *(each.exceptions or ()))
        left += [one for one in related if one is not None]
