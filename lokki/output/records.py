"""Log records of calls, seen where loggers call their handlers.

A handler on the root logger would be seen by ``logging.basicConfig``, which would then do nothing.
What the handlers write on the standard streams is not recorded a second time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import get_ident
from time import time
from typing import TypeAlias

from lokki.call import Running, running
from lokki.logging import Line
from lokki.output.hooks import Hook
from lokki.output.parts import cut
from lokki.output.sinks import attached, busy
from lokki.output.streams import logging_now

_CallHandlers: TypeAlias = Callable[[logging.Logger, logging.LogRecord], None]


def _recording(call_handlers: _CallHandlers) -> _CallHandlers:
    """A ``Logger.callHandlers`` that records those of calls before it calls another's."""

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
            return call_handlers(self, log)
        finally:
            logging_now.discard(thread)

    return callHandlers


def _line(here: Running, log: logging.LogRecord) -> Line:
    call, index, attempt, _ = here
    message = cut(_message(log), call.secrets)
    item = index if call.in_map else None
    return time(), call.name, item, attempt, log.levelname, log.name, message


def _message(log: logging.LogRecord) -> str:
    try:
        return log.getMessage()
    except Exception as error:  # the program's handlers report it, as they always do
        return f"<log message that cannot be shown: {type(error).__name__}>"


log_records = Hook(logging.Logger, "callHandlers", _recording)
