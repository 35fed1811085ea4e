"""The connection to a Dask scheduler, which is made anew when it is lost."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Any, TypeAlias

from lokki.engine.cluster.dask import imported
from lokki.errors import ClusterError, described

Client: TypeAlias = Any
"""A `distributed.Client`, whose methods have no types."""
Future: TypeAlias = Any
"""A `distributed.Future`."""

_TRY_SECONDS = 5.0
_PAUSE_SECONDS = 0.5


def _is_told(record: logging.LogRecord) -> bool:
    """Whether Dask logs something besides the end of its own attempts to connect again."""
    return not (record.exc_info and record.exc_info[0] is asyncio.CancelledError)


logging.getLogger("distributed.client").addFilter(_is_told)


class Connection:
    """The client of a scheduler; ``reconnect``: seconds for which it may be away.

    ``tell`` is called with a sentence when a wait for the scheduler begins and when it ends.
    """

    def __init__(self, address: str, reconnect: float, tell: Callable[[str], None]) -> None:
        self.address = address
        self._reconnect = reconnect
        self._tell = tell
        self._lock = threading.Lock()
        self._client: Client | None = None
        self._told = False
        self._why = ""
        self._closing = threading.Event()

    @property
    def now(self) -> Client | None:
        """The client, if there is one now."""
        client = self._client
        return client if client is not None and client.status == "running" else None

    def client(self, unwanted: Callable[[], bool]) -> Client | None:
        """The client, as soon as the scheduler can be reached; None once it is ``unwanted``.

        Raises ClusterError if that takes longer than ``reconnect``, or for want of certificates.
        """
        deadline = monotonic() + self._reconnect
        while not (unwanted() or self._closing.is_set()):
            with self._lock:
                if (client := self.now) is not None or (client := self._connected()) is not None:
                    if self._told:
                        self._tell(f"the Dask scheduler at {self.address} is back")
                    self._told = False
                    return client
                told, self._told = self._told, True
            if monotonic() >= deadline:
                raise ClusterError(
                    f"the Dask scheduler at {self.address} could not be reached within "
                    f"{self._reconnect:g} s ([local] reconnect){self._why}; resume the run once it "
                    "is there"
                )
            if not told:
                self._tell(
                    f"the Dask scheduler at {self.address} cannot be reached{self._why}; the run "
                    f"waits for it for up to {self._reconnect:g} s"
                )
            self._closing.wait(_PAUSE_SECONDS)
        return None

    def close(self) -> None:
        self._closing.set()
        with self._lock:
            self._drop()

    def _connected(self) -> Client | None:
        """A new client; None if the scheduler cannot be reached now. The caller holds the lock."""
        distributed = imported("distributed")
        if self._client is not None:
            self._drop()
            return None  # that it is gone is told before it is awaited
        security = distributed.Security()
        self._check_certificates(security)
        try:
            self._client = distributed.Client(
                self.address,
                timeout=min(_TRY_SECONDS, self._reconnect),
                set_as_default=False,
                name="lokki",
                security=security,
            )
        except OSError as error:
            self._why = f": {described(_first(error))}"
        return self._client

    def _check_certificates(self, security: Any) -> None:
        """Raise ClusterError if an encrypted connection lacks what Dask's configuration must have.

        https://distributed.dask.org/en/stable/tls.html
        """
        if not self.address.startswith(("tls:", "wss:")):
            return
        try:
            found = security.get_connection_args("client")["ssl_context"]
        except OSError as error:
            raise ClusterError(
                f"the certificates for the Dask scheduler at {self.address} cannot be read: "
                f"{described(error)}"
            ) from None
        if found is None:
            raise ClusterError(
                f"the Dask scheduler at {self.address} needs certificates: name them in Dask's "
                "configuration (distributed.comm.tls.ca-file, .client.cert and .client.key), as in "
                "https://distributed.dask.org/en/stable/tls.html"
            )

    def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with suppress(Exception):  # the scheduler may be gone
                client.close(timeout=1)


def _first(error: BaseException) -> BaseException:
    """What Dask's error has begun with."""
    while (before := error.__cause__ or error.__context__) is not None:
        error = before
    return error
