"""The background parts of the service, which report their problems."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import NoReturn

from lokki.errors import LokkiError

_PATIENCE_SECONDS = 5.0
"""A turn that takes longer is reported as a problem, but continues."""
_SHORTEST_WAIT = 0.25
_LONGEST_WAIT = 30.0
_log = logging.getLogger("lokki_server")


class Part:
    """Work that is done in turns, forever, with a ``pause`` between them.

    A failed turn is logged, once for equal failures in a row, and repeated: after a quarter of a
    second, then after twice as long each time, up to half a minute.
    """

    def __init__(
        self,
        name: str,
        turn: Callable[[], Awaitable[None]],
        pause: Callable[[], Awaitable[object]],
    ) -> None:
        self.name = name
        self._turn = turn
        self._pause = pause
        self._error: str | None = None
        self._failures = 0
        self._began: float | None = None

    @property
    def problem(self) -> str | None:
        """Why it does not work; None if it does."""
        lasts = 0.0 if self._began is None else monotonic() - self._began
        if self._error is None and lasts > _PATIENCE_SECONDS:
            return f"it has made no progress for {lasts:.0f} seconds"
        return self._error

    async def once(self) -> None:
        """Run one turn; its error is logged."""
        self._began = monotonic()
        try:
            await self._turn()
        except Exception as error:
            self._failures += 1
            self._report(_first(error))
        else:
            if self._error is not None:
                _log.warning("%s: works again", self.name)
            self._failures, self._error = 0, None
        finally:
            self._began = None

    async def work(self) -> NoReturn:
        """Run one turn after the other."""
        while True:
            await self.once()
            if self._failures:
                await asyncio.sleep(min(_LONGEST_WAIT, _SHORTEST_WAIT * 2 ** (self._failures - 1)))
            await self._pause()

    def _report(self, error: Exception) -> None:
        """Log an error, unless it repeats the last one; with a traceback if it is unexpected."""
        foreseen = isinstance(error, LokkiError | OSError)
        text = str(error) if foreseen else f"{type(error).__name__}: {error}"
        if text != self._error:
            _log.error(
                "%s: %s; trying again", self.name, text, exc_info=None if foreseen else error
            )
        self._error = text


def _first(error: Exception) -> Exception:
    """An error itself, or the first one of a group of tasks."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
