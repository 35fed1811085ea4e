"""Waits for the journal's database, which may be started at the same time as the service."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, sleep

from lokki.errors import JournalUnreachable
from lokki.postgres_url import Place
from lokki.store.journal import Journal

_SHORTEST_WAIT = 0.25
_LONGEST_WAIT = 5.0


def await_journal(place: Place, patience: float, tell: Callable[[str], None]) -> None:
    """Open the journal once, and wait for its server for up to ``patience`` seconds.

    Each reason to wait is told when it is new. Raises JournalError at once for a journal that
    cannot be used, and JournalUnreachable if its server is still away in the end.
    """
    until, wait, told = monotonic() + patience, _SHORTEST_WAIT, ""
    while True:
        try:
            Journal(place).close()
            return
        except JournalUnreachable as error:
            left = until - monotonic()
            if left <= 0:
                raise JournalUnreachable(
                    f"{error}; lokki serve has waited for {patience:g} s ([local] reconnect)"
                ) from error
            if str(error) != told:
                told = str(error)
                tell(f"lokki serve waits for up to {left:.0f} s ([local] reconnect): {told}")
            sleep(min(wait, left))
            wait = min(2 * wait, _LONGEST_WAIT)
