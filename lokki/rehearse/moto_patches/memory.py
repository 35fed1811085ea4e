"""How much memory a function's process has used; on Linux: other systems do not report it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

MEGABYTE = 1024 * 1024
_PEAK = re.compile(rb"VmHWM:\s+(\d+) kB")
_PRIVATE = re.compile(rb"Private_\w+:\s+(\d+) kB")


def peak(pid: int) -> int:
    """The most bytes that a process has had, with what its children have now; 0 if unknown.

    What a child shares, as the memory of a fork, counts once.
    """
    with suppress(OSError):
        found = _PEAK.search(Path(f"/proc/{pid}/status").read_bytes())
        own = 1024 * int(found[1]) if found else 0
        return own + sum(map(_private, _descendants(pid)))
    return 0


def _descendants(pid: int) -> Iterator[int]:
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield int(child)
                yield from _descendants(int(child))


def _private(pid: int) -> int:
    with suppress(OSError):
        found = _PRIVATE.findall(Path(f"/proc/{pid}/smaps_rollup").read_bytes())
        return 1024 * sum(map(int, found))
    return 0
