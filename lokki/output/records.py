"""Captures log records of calls where loggers call their handlers.

``logging.basicConfig`` would notice a handler on the root logger and do nothing. What the handlers
write to the standard streams is not recorded a second time. While no level is set, what the flow's
own code logs at INFO is recorded, too; handlers do not get it, as without a run.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from threading import get_ident
from time import time
from typing import TYPE_CHECKING, TypeAlias

from lokki.call import Running, running
from lokki.location import in_library
from lokki.output.hooks import Hook
from lokki.output.line_buffers import cut
from lokki.output.sinks import attached, busy, captured_call
from lokki.output.streams import logging_now

if TYPE_CHECKING:
    from lokki.logging import Line

_CallHandlers: TypeAlias = Callable[[logging.Logger, logging.LogRecord], None]
_IsEnabledFor: TypeAlias = Callable[[logging.Logger, int], bool]

_OF_LOGGING = logging.addLevelName.__code__.co_filename
_own: str | None = None


def _recording(call_handlers: _CallHandlers) -> _CallHandlers:
    """A ``Logger.callHandlers`` that records records of calls before it calls the original."""

    def callHandlers(self: logging.Logger, log: logging.LogRecord) -> None:  # noqa: N802
        here = running.get()
        thread = get_ident()
        if (
            here is None
            or here[0].run_id not in attached
            or thread in logging_now
            or thread in busy
        ):
            return call_handlers(self, log)
        logging_now.add(thread)
        try:
            line = _line(here, log)
            busy.add(thread)
            try:
                for sink, _ in attached.get(here[0].run_id, ()):
                    sink(line)
            finally:
                busy.discard(thread)
            if log.levelno >= logging.WARNING or not _has_default_level(self):
                call_handlers(self, log)
        finally:
            logging_now.discard(thread)

    return callHandlers


def _enabling(is_enabled_for: _IsEnabledFor) -> _IsEnabledFor:
    """A ``Logger.isEnabledFor`` that also enables INFO, only for what is recorded."""

    def isEnabledFor(self: logging.Logger, level: int) -> bool:  # noqa: N802
        if is_enabled_for(self, level):
            return True
        return level >= logging.INFO and _is_own(self, level)

    return isEnabledFor


def _is_own(logger: logging.Logger, level: int) -> bool:
    """Whether the flow's own code logs in a call, to a logger without a level."""
    thread = get_ident()
    if (
        captured_call() is None
        or thread in logging_now
        or thread in busy
        or logger.disabled
        or logger.manager.disable >= level
        or not _has_default_level(logger)
    ):
        return False
    frame = sys._getframe(2)
    while frame.f_code.co_filename == _OF_LOGGING and frame.f_back is not None:
        frame = frame.f_back
    return _is_own_code(frame.f_code.co_filename)


@lru_cache(maxsize=10_000)
def _is_own_code(file: str) -> bool:
    return not in_library(file) if _own is None else file.startswith(_own)


@contextmanager
def own_code(code: str) -> Iterator[None]:
    """Inside this context, the flow's own code is a file or folder, with libraries beside it."""
    global _own
    before, _own = _own, code
    _is_own_code.cache_clear()
    try:
        yield
    finally:
        _own = before
        _is_own_code.cache_clear()


def _has_default_level(logger: logging.Logger) -> bool:
    while logger.parent is not None:
        if logger.level:
            return False
        logger = logger.parent
    return logger.level == logging.WARNING


def _line(here: Running, log: logging.LogRecord) -> Line:
    call, index, attempt, *_ = here
    message = cut(_message(log), call.secrets)
    item = index if call.in_map else None
    return time(), call.name, item, attempt, log.levelname, log.name, message


def _message(log: logging.LogRecord) -> str:
    try:
        return log.getMessage()
    except Exception as error:  # the program's handlers report it, as always
        return f"<log message that cannot be shown: {type(error).__name__}>"


log_records = Hook(logging.Logger, "callHandlers", _recording)
log_levels = Hook(logging.Logger, "isEnabledFor", _enabling)
