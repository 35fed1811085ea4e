"""Messages between the service and its child processes: JSON objects, one per line, on a socket.

Bytes may be attached to a message: they follow its line and are not parsed. Output of user code in
a child goes to the service's stderr, never between messages.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

_LONGEST = 64 * 1024 * 1024


class Channel:
    """One end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, connection: socket.socket) -> Channel:
        """The end at ``connection``, in the running event loop."""
        return cls(*await asyncio.open_connection(sock=connection, limit=_LONGEST))

    def send(self, attached: bytes = b"", **message: Any) -> None:
        """Send a message; drop it if the other end is gone."""
        if not self._writer.is_closing():
            self._writer.write(_written(message, attached))

    async def messages(self) -> AsyncIterator[dict[str, Any]]:
        """The messages from the other end until it is gone; ``attached`` has the bytes."""
        while True:
            try:
                line = await self._reader.readline()
                if not line.endswith(b"\n"):
                    return
                message = json.loads(line)
                if "attached" in message:
                    message["attached"] = await self._reader.readexactly(message["attached"])
            except (ConnectionError, asyncio.IncompleteReadError):
                return
            yield message

    def close(self) -> None:
        self._writer.close()


class BlockingChannel:
    """One end of a connection, for a process that does one thing at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._reader = connection.makefile("rb")

    def send(self, attached: bytes = b"", **message: Any) -> None:
        """Send a message; drop it if the other end is gone."""
        with suppress(OSError):
            self._connection.sendall(_written(message, attached))

    def messages(self) -> Iterator[dict[str, Any]]:
        """The same as `Channel.messages`."""
        with suppress(OSError):
            while (line := self._reader.readline()).endswith(b"\n"):
                message = json.loads(line)
                if "attached" in message:
                    size = message["attached"]
                    message["attached"] = self._reader.read(size)
                    if len(message["attached"]) < size:
                        return
                yield message


def _written(message: dict[str, Any], attached: bytes) -> bytes:
    size = {"attached": len(attached)} if attached else {}
    text = json.dumps({**message, **size}, ensure_ascii=False)
    return text.encode("utf-8", "replace") + b"\n" + attached


class Child:
    """A process of ``python -m MODULE ARGUMENT …``, with a channel to it.

    It has its own session, so that Ctrl-C in a terminal reaches only the service.
    """

    def __init__(self, process: asyncio.subprocess.Process, channel: Channel) -> None:
        self._process = process
        self.channel = channel

    @classmethod
    async def start(cls, module: str, *arguments: str) -> Child:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    module,
                    str(theirs.fileno()),
                    *arguments,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=2,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
        except BaseException:
            ours.close()
            raise
        return cls(process, await Channel.over(ours))

    @property
    def pid(self) -> int:
        return self._process.pid

    async def ended(self) -> int:
        """Wait for the process to end; return its exit code, negative for a signal."""
        return await self._process.wait()

    def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()


def inherited(descriptor: str) -> socket.socket:
    """The connection that `Child.start` gave to this process; its children do not get it."""
    os.set_inheritable(int(descriptor), False)
    return socket.socket(fileno=int(descriptor))
