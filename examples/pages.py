"""Waiting for others: fetch pages from a server that fails now and then, on the event loop.

Shows an async step with retries, a limit of open requests, tolerated failures and a resume. The
server is this file's own, on a free port of 127.0.0.1: some of its pages need two attempts, one in
fifty is gone, and with OUTAGE=60 it is down from page 60 on.

    python examples/pages.py run                    # 98 of 100 pages
    OUTAGE=60 python examples/pages.py run          # fails: more than 5 % of the pages do
    python examples/pages.py show last
    python examples/pages.py resume last --failed   # the rest, and what was tolerated meanwhile
"""

import asyncio
import os
import socket
import threading
from functools import cache

from lokki import current, flow, main, step

OUTAGE = int(os.environ.get("OUTAGE", "1000000"))


@step
def list_pages(count: int):
    return [f"/page/{number}" for number in range(count)]


@step(retry={"retries": 2, "delay": 0.02, "exceptions": (OSError,)}, timeout_seconds=10)
async def fetch(path: str):
    reader, writer = await asyncio.open_connection("127.0.0.1", server_port())
    writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
    head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    if " 404 " in head:
        raise LookupError(path)  # no OSError: trying again does not help
    if " 200 " not in head:
        raise ConnectionError(f"{path}: {head}")
    return body


@step
def summary(bodies: list[str]):
    return f"{len(bodies)} pages; missing: {[each.index for each in current().failures]}"


@flow
def pages(count: int = 100):
    """Fetch pages, of which one in twenty may fail."""
    return list_pages().map(fetch, concurrency_limit=20, tolerated_failures=0.05).agg(summary)


@cache
def server_port():
    """Start the server, in a thread of its own, at the first request."""
    listening = socket.create_server(("127.0.0.1", 0))
    asked = set()

    async def answer(reader, writer):
        page = int((await reader.readuntil(b"\r\n\r\n")).split()[1].rpartition(b"/")[2])
        status = "404 Gone" if page % 50 == 7 else "200 OK"
        if page >= OUTAGE or (page in (3, 13, 33) and page not in asked):
            status = "503 Busy"
        asked.add(page)
        writer.write(f"HTTP/1.0 {status}\r\n\r\nThis is page {page}.".encode())
        writer.close()

    async def serve():
        await (await asyncio.start_server(answer, sock=listening)).serve_forever()

    threading.Thread(target=asyncio.run, args=(serve(),), daemon=True).start()
    return listening.getsockname()[1]


if __name__ == "__main__":
    main(pages)
