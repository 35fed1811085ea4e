"""Messages between the engine and a worker: pickles over a socket, behind a mark and a length.

The connection of multiprocessing has no mark: it takes the first four bytes of anything that a step
writes to the socket for a length, and waits for that many bytes.
"""

from __future__ import annotations

import pickle
import socket
import struct
from typing import Any

_MARK = b"\xf5lokki\n"  # begins no text: UTF-8 has no such byte
_HEAD = struct.Struct(f"!{len(_MARK)}sQ")
_SMALL_BYTES = 16_384


class Garbled(Exception):
    """The bytes received are no message."""


class Channel:
    """One end of a connection: the socket ``descriptor``, which it closes.

    Reads and writes block; one thread at a time may read, and one may write.
    """

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._socket.settimeout(None)  # a program may have set a default

    @property
    def closed(self) -> bool:
        return self._socket.fileno() < 0

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def send(self, message: Any) -> None:
        """Pickle a message and send it. Raises OSError when the other end is closed."""
        self.send_pickle(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))

    def send_pickle(self, raw: bytes) -> None:
        """Send a message that is already pickled."""
        head = _HEAD.pack(_MARK, len(raw))
        if len(raw) <= _SMALL_BYTES:
            self._socket.sendall(head + raw)
        else:
            self._socket.sendall(head)
            self._socket.sendall(raw)

    def receive(self) -> Any:
        """The next message.

        Raises Garbled as soon as the bytes are no message, whatever unpickling raises, and EOFError
        or OSError when the other end is closed.
        """
        content = bytearray(self._length())
        rest = memoryview(content)
        while rest:
            rest = rest[self._socket.recv_into(rest) or _ended() :]
        return pickle.loads(content)  # noqa: S301 - from a process of lokki

    def _length(self) -> int:
        head = b""
        while len(head) < _HEAD.size:
            head += self._socket.recv(_HEAD.size - len(head)) or _ended()
            if head[: len(_MARK)] != _MARK[: len(head)]:
                raise Garbled(f"it begins with {head!r}")
        length: int = _HEAD.unpack(head)[1]
        return length


def _ended() -> Any:
    raise EOFError("the other end is closed")
