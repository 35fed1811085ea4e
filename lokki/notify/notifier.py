"""Sends notices in the background, so that no run waits for a mail server."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import TYPE_CHECKING

from lokki.config import DEFAULT, Config, Notify, files
from lokki.errors import ConfigError
from lokki.notify.notice import ENDS, Notice, Refused

if TYPE_CHECKING:
    from lokki.notify.targets import Send

_PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0)
"""Seconds between the attempts to send a notice."""
_NEVER = "never"
_CLOSING_SECONDS = 30.0
_THREADS = 4
_log = logging.getLogger("lokki.notify")


class Notifier:
    """Sends a notice of each end that ``[notify]`` names to each of its targets.

    ``targets`` has what sends to each of them. One that cannot be reached is tried up to five more
    times within half a minute; then a warning is logged. No run fails for it. Nobody is told of
    runs of the user's tests. Raises ConfigError for a setting that is wrong.
    """

    def __init__(self, config: Config) -> None:
        self.targets: Mapping[str, Send] = {}
        if replace(config.notify, on=Notify.on) != Notify():
            from lokki.notify.targets import targets  # slow to import

            self.targets = targets(config.notify, config.aws.endpoint)
        ends = _ends(config.notify.on)
        self._ends = frozenset[str]() if _is_test(config) else ends
        self._pool: ThreadPoolExecutor | None = None
        self._sent: set[Future[None]] = set()
        self._closing = threading.Event()

    def tell(self, notice: Notice) -> None:
        """Send a notice if this end is to be notified; does not wait."""
        if not self.targets or notice.status not in self._ends:
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(_THREADS, "lokki-notify")
        for name, send in self.targets.items():
            sent = self._pool.submit(self._deliver, name, send, notice)
            self._sent.add(sent)
            sent.add_done_callback(self._sent.discard)

    def close(self) -> None:
        """Wait for notices that are on their way, up to half a minute; blocks."""
        if self._pool is not None:
            wait(tuple(self._sent), _CLOSING_SECONDS)
            self._closing.set()
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _deliver(self, name: str, send: Send, notice: Notice) -> None:
        pauses = iter(_PAUSES)
        while True:
            try:
                send(notice)
            except (Refused, OSError) as error:
                pause = None if isinstance(error, Refused) else next(pauses, None)
                if pause is None or self._closing.wait(pause):
                    _log.warning(
                        "no notice of run %s could be sent to %s: %s", notice.run_id, name, error
                    )
                    return
            except Exception:
                _log.exception("the notice of run %s to %s is lost", notice.run_id, name)
                return
            else:
                return


def _is_test(config: Config) -> bool:
    """Whether pytest runs this, and the test has not said of which ends it wants notices."""
    said = config.origins.get("notify.on") not in (DEFAULT, *files())
    return "PYTEST_CURRENT_TEST" in os.environ and not said


def _ends(configured: str) -> frozenset[str]:
    if configured.strip() == _NEVER:
        return frozenset()
    ends = {each.strip() for each in configured.split(",")} - {""}
    for each in sorted(ends - set(ENDS)):
        raise ConfigError(
            f"notify.on: '{each}' is no end of a run: use {', '.join(ENDS)}, or {_NEVER}"
        )
    return frozenset(ends)
