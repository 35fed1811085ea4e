"""Records the links that a flow's body makes while it is traced, each with its line."""

from __future__ import annotations

import linecache
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import islice
from types import FrameType, TracebackType

from lokki.errors import DefinitionError, ParameterError

_OURS = os.path.dirname(os.path.abspath(__file__)) + os.sep
_NOT_USERS = (_OURS, os.path.dirname(os.__file__) + os.sep, "<frozen ")
_LONGEST = 100


@dataclass(frozen=True, slots=True)
class Link:
    """One link of a body: the chain it made, the chain before it, and the link as written."""

    chain: object
    before: object | None
    words: str
    file: str
    line: int

    @property
    def place(self) -> str:
        return place_of(self.file, self.line)


_links: ContextVar[list[Link] | None] = ContextVar("lokki_links", default=None)


@contextmanager
def tracing() -> Iterator[list[Link]]:
    """Inside this context, links are listed; an error names the line of the body that caused it."""
    links: list[Link] = []
    outside = _links.set(links)
    try:
        yield links
    except (DefinitionError, ParameterError) as error:
        error.place = error.place or place_in(users_frame(error.__traceback__))
        raise
    finally:
        _links.reset(outside)


@contextmanager
def placed(place: str) -> Iterator[None]:
    """Inside this context, an error of a definition names this line, unless it names another."""
    try:
        yield
    except DefinitionError as error:
        error.place = error.place or place
        raise


def note(chain: object, before: object | None, words: str) -> None:
    """List a link, if a body is being traced."""
    links = _links.get()
    if links is not None:
        links.append(Link(chain, before, words, *here()))


def kept(links: list[Link], returned: object, flow: str) -> list[Link]:
    """The links of the chain that a body returned.

    Raises DefinitionError for links outside that chain: they would be lost.
    """
    made = {id(link.chain): link for link in links}
    found = _way_to(returned, made)
    lost = next((link for link in links if link not in found), None)
    if lost is None:
        return found
    before = _way_to(lost.before, made)
    advice = "a link does not change the chain before it but returns a new one: continue with that"
    if lost.before is None:
        advice = "link it to the others, or return it"
    elif before and found[: len(before)] == before:
        whole = "".join(each.words for each in (*before, lost, *found[len(before) :]))
        advice += f", as in {whole}" if len(whole) <= _LONGEST else ""
    error = DefinitionError(
        f"flow '{flow}': {lost.words} is not part of the returned chain, so it would never "
        f"run; {advice}, or leave it out"
    )
    error.place = lost.place
    raise error


def _way_to(chain: object | None, made: dict[int, Link]) -> list[Link]:
    """Those of the links made that led to a chain, in order."""
    found = []
    while (link := made.get(id(chain))) is not None:
        found.append(link)
        chain = link.before
    return found[::-1]


def here() -> tuple[str, int]:
    """The user's file and line that runs: in the body, or in the user's code that it calls."""
    found = ("", 0)
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not (found[0] and frame.f_code.co_filename.startswith(_OURS)):
        file = frame.f_code.co_filename
        if _is_own(file):
            return file, frame.f_lineno
        if not found[0] and not file.startswith(_OURS):
            found = file, frame.f_lineno
        frame = frame.f_back
    return found


def users_frame(frames: TracebackType | None) -> TracebackType | None:
    """The innermost frame of a traceback that is the user's own, or else a library's."""
    own = other = None
    while frames is not None:
        file = frames.tb_frame.f_code.co_filename
        if _is_own(file):
            own = frames
        elif not file.startswith(_OURS):
            other = frames
        frames = frames.tb_next
    return own or other


def place_in(frame: TracebackType | None) -> str:
    """The line of a traceback's frame."""
    return "" if frame is None else place_of(frame.tb_frame.f_code.co_filename, frame.tb_lineno)


def place_of_function(function: object) -> str:
    """The line where a function begins: that of its first decorator."""
    code = getattr(function, "__code__", None)
    return place_of(code.co_filename, code.co_firstlineno) if code is not None else ""


def code_in(frame: TracebackType) -> str:
    """The expression at a traceback's frame if it fits in one line, otherwise the line."""
    code = frame.tb_frame.f_code
    line = linecache.getline(code.co_filename, frame.tb_lineno)
    first, last, begin, end = next(islice(code.co_positions(), frame.tb_lasti // 2, None))
    return line if first != last else line.encode()[begin:end].decode(errors="replace")


def _is_own(file: str) -> bool:
    return not file.startswith(_NOT_USERS) and "site-packages" not in file


def place_of(file: str, line: int) -> str:
    """A line as messages name it: ``birds.py:12``; a relative path if that is shorter."""
    if not file:
        return ""
    with suppress(OSError, ValueError):  # no working directory, or it is on another drive
        file = min(file, os.path.relpath(file), key=len)
    return f"{file}:{line}"
