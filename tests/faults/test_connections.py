"""Clients that connect and keep the server waiting: it answers the others as quickly as without."""

from __future__ import annotations

import os
import resource
import socket
import time
from contextlib import ExitStack
from statistics import median

import pytest
from serving import Place, until

MANY = 2_000
HEADS = (
    b"",
    b"GET /runs HTTP/1.1\r\nHost: localhost\r\n",
    b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: 20\r\n\r\n",
)
FEW_FILES = ("sh", "-c", 'ulimit -n 256; exec "$@"', "sh")


@pytest.fixture
def place(tmp_path, journal):
    made = Place(tmp_path)
    made.write("flows.py")
    yield made
    made.close()


def connected(server):
    address = server.client.base_url
    return socket.create_connection((address.host, address.port), timeout=20)


def seconds_to_answer(server):
    """The time that a new client waits for `/healthz`, as it is in the middle of forty."""

    def asked():
        began = time.perf_counter()
        with connected(server) as client:
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
        return time.perf_counter() - began

    return median(asked() for _ in range(40))


def files(server):
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def test_two_thousand_idle_connections_leave_the_server_answering(place):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < MANY + 500:
        pytest.skip("this process may not open as many files")
    server = place.serve("flows.py", within=FEW_FILES)
    alone = seconds_to_answer(server)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with ExitStack() as clients:
            for number in range(MANY):
                client = clients.enter_context(connected(server))
                client.sendall(HEADS[number % len(HEADS)])
            assert seconds_to_answer(server) < 10 * alone
            assert files(server) < 256
            assert server.ran("summed")["status"] == "succeeded"
            server.ready()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "Traceback" not in server.told
    assert len(server.told.splitlines()) < 5, server.told


def test_connections_that_cannot_be_accepted_are_reported_in_a_line(place):
    server = place.serve("flows.py")
    pid, what = server.process.pid, resource.RLIMIT_NOFILE
    before = resource.prlimit(pid, what, (files(server), resource.prlimit(pid, what)[1]))
    with ExitStack() as clients:
        for _ in range(20):
            clients.enter_context(connected(server))
        until(lambda: "Too many open files" in server.told, "the reason")
        resource.prlimit(pid, what, before)
        assert server.get("/healthz") == {"status": "ok"}
    told = [line for line in server.told.splitlines() if "accept" in line]
    assert told == ["socket.accept() out of system resource: [Errno 24] Too many open files"]
    assert "Traceback" not in server.told


def test_a_client_that_sends_no_whole_head_is_hung_up_on(place):
    server = place.serve("flows.py")
    began = time.monotonic()
    with connected(server) as silent, connected(server) as slow, connected(server) as second:
        second.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET")
        slow.setblocking(False)
        slow.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n")
        assert second.recv(65536).startswith(b"HTTP/1.1 200 ")
        second.sendall(b" /")
        until(lambda: is_closed(slow), "an end of a client that sends a letter now and then")
        assert 5 < time.monotonic() - began < 30
        for client in (silent, second):
            while client.recv(65536):
                pass
    assert server.get("/healthz") == {"status": "ok"}
    assert "Traceback" not in server.told


def is_closed(client):
    """Whether it is hung up on, though it sends a letter."""
    time.sleep(0.1)
    try:
        client.sendall(b"x")
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
