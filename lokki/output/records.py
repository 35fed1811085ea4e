"""Log records of calls, seen where loggers call their handlers.

A handler on the root logger would be seen by ``logging.basicConfig``, which would then do nothing.
What the handlers write on the standard streams is not recorded a second time.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import get_ident
from typing import TypeAlias

from lokki.call import running
from lokki.output.hooks import Hook
from lokki.output.parts import cut
from lokki.output.sinks import attached, record
from lokki.output.streams import logging_now

_CallHandlers: TypeAlias = Callable[[logging.Logger, logging.LogRecord], None]


def _recording(call_handlers: _CallHandlers) -> _CallHandlers:
    """A ``Logger.callHandlers`` that records those of calls before it calls another's."""

    def callHandlers(self: logging.Logger, log: logging.LogRecord) -> None:  # noqa: N802
        here = running.get()
        if here is None or here[0].run_id not in attached or get_ident() in logging_now:
            return call_handlers(self, log)
        thread = get_ident()
        logging_now.add(thread)
        try:
            call, index, attempt, _ = here
            item = index if call.in_map else None
            message = cut(_message(log), call.secrets)
            line = (time.time(), call.name, item, attempt, log.levelname, log.name, message)
            record(call.run_id, line)
            return call_handlers(self, log)
        finally:
            logging_now.discard(thread)

    return callHandlers


def _message(log: logging.LogRecord) -> str:
    try:
        return log.getMessage()
    except Exception as error:  # the program's handlers report it, as they always do
        return f"<log message that cannot be shown: {type(error).__name__}>"


log_records = Hook(logging.Logger, "callHandlers", _recording)
