"""Who may ask, and what an answer may be used for: pages of other sites must get nowhere."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from contextlib import ExitStack
from itertools import count

import httpx
import pytest
from serving import until

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; frame-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
TOKEN = "correct horse battery staple"
START = "/flows/words/runs"
ADDRESSES = count(2)
PROXY = "127.2.0.1"


def has_headers(answer) -> bool:
    return HEADERS.items() <= dict(answer.headers).items() and "cache-control" in answer.headers


def no_run_began(server) -> bool:
    return server.get("/runs")["runs"] == []


# ---- without a token -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 200),
        ("/ui/runs/x", 200),
        ("/flows", 200),
        ("/runs", 200),
        ("/healthz", 200),
        ("/openapi.json", 200),
        ("/session", 200),
        ("/nosuch", 404),
        ("/runs/nosuch", 404),
        ("/runs/nosuch/events", 404),
        ("/runs?n=x", 422),
        ("/static/nosuch.js", 404),
        ("/login", 405),
    ],
)
def test_every_answer_has_the_headers(server, path, status):
    answer = server.client.get(path)
    assert answer.status_code == status
    assert has_headers(answer)


def test_a_browser_keeps_files_and_asks_whether_they_have_changed(server):
    first = server.client.get("/static/js/main.js")
    known = {"If-None-Match": first.headers["ETag"]}
    again = server.client.get("/static/js/main.js", headers=known)
    assert (first.headers["Cache-Control"], again.status_code) == ("no-cache", 304)
    assert (again.headers["Cache-Control"], again.content) == ("no-cache", b"")


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8765", "127.0.0.1.evil.example", "", "[", "0.0.0.0", "::1x",
     "user@localhost", "user:word@127.0.0.1:8765", "localhost#", "localhost#evil.example",
     "evil.example#@localhost", "localhost/", "localhost?", "localhost:", "localhost:1:2"],
)  # fmt: skip
def test_another_host_is_refused(server, host):
    for method in ("GET", "POST"):
        answer = server.client.request(method, START, headers={"Host": host})
        assert answer.status_code == 421
        assert has_headers(answer)
    assert server.client.get("/", headers={"Host": host}).status_code == 421


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:1", "[::1]:80", "LOCALHOST:99"])
def test_loopback_by_any_name_is_this_machine(server, host):
    assert server.client.get("/flows", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://127.0.0.1.evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "unknown"},
    ],
)
def test_another_sites_page_starts_nothing(server, headers):
    answer = server.client.post(START, json={}, headers=headers)
    assert answer.status_code == 403
    assert has_headers(answer)
    assert no_run_began(server)


@pytest.mark.parametrize(
    "origin",
    ["http://user@{}", "http://{}#x", "http://{}/", "http://{}?x", "{}", "evil://{}", "//{}"],
)
def test_an_origin_is_scheme_and_host_alone(server, origin):
    ours = f"{server.client.base_url.host}:{server.client.base_url.port}"
    answer = server.client.post(START, json={}, headers={"Origin": origin.format(ours)})
    assert answer.status_code == 403
    assert no_run_began(server)


@pytest.mark.parametrize(
    "kind",
    ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x", None,
     "text/plain; application/json", "application/jsonx"],
)  # fmt: skip
def test_what_a_form_can_send_starts_nothing(server, kind):
    headers = {"Content-Type": kind} if kind else {}
    answer = server.client.post(START, content=b'{"params": {}}', headers=headers)
    assert answer.status_code == 415
    assert has_headers(answer)
    assert no_run_began(server)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_other_methods_do_nothing(server, method):
    answer = server.client.request(method, START)
    assert answer.status_code in (405, 415)
    assert "access-control-allow-origin" not in answer.headers
    assert has_headers(answer)


@pytest.mark.parametrize(
    "path",
    [
        "/runs/..%2f..%2fetc%2fpasswd",
        "/runs/%2e%2e",
        "/runs/%2e%2e/result",
        "/runs/../../etc/passwd",
        "/static/../server.py",
        "/static/%2e%2e/server.py",
        "/static/..%2fserver.py",
        "/static//etc/passwd",
        "/flows/%2e%2e",
        "/runs/%00",
        "/runs/x%00/logs",
        "/runs/*",
        "/runs/%25",
    ],
)
def test_no_path_leads_out(server, path):
    address = server.client.base_url
    with socket.create_connection((address.host, address.port), timeout=20) as raw:
        raw.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: raw.recv(65536), b""))
    assert answer.split()[1] in (b"404", b"422")
    assert b"root:" not in answer
    assert b"uvicorn" not in answer


def test_a_large_body_is_refused(server):
    size = 100 * 1024 * 1024
    address = server.client.base_url
    head = (
        f"POST {START} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {size}\r\n\r\n"
    )
    with socket.create_connection((address.host, address.port), timeout=20) as raw:
        raw.sendall(head.encode())  # it is refused before the body comes
        assert raw.recv(65536).split()[1] == b"413"


@pytest.mark.parametrize("path", [START, "/login", "/flows/nosuch/runs"])
def test_a_large_body_of_unknown_length_is_refused(server, path):
    def parts():
        yield b'{"params": {"text": "'
        for _ in range(100):
            yield b"x" * 1024 * 1024
        yield b'"}}'

    sent = 0

    def counted():
        nonlocal sent
        for part in parts():
            sent += len(part)
            yield part

    try:
        answer = server.client.post(
            path, content=counted(), headers={"Content-Type": "application/json"}
        )
    except OSError:  # it was hung up on while it sent
        answer = None
    assert answer is None or answer.status_code == 413
    assert no_run_began(server)
    assert server.get("/healthz") == {"status": "ok"}


def test_the_head_of_an_answer_comes_with_its_body(server):
    address = server.client.base_url
    with socket.create_connection((address.host, address.port), timeout=20) as raw:
        for _ in range(20):
            raw.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert raw.recv(65536).endswith(b'{"status":"ok"}')


def test_the_server_does_not_say_what_it_is(server):
    assert "server" not in server.client.get("/").headers


def test_a_server_on_loopback_needs_no_login(server):
    assert server.get("/session")["login_needed"] is False
    answer = server.client.post("/login", json={"token": "any"})
    assert answer.status_code == 204
    assert "set-cookie" not in answer.headers


# ---- with one ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def locked(shared, server):
    return shared.serve(
        "flows.py",
        LOKKI_SERVER_TOKEN=TOKEN,
        LOKKI_SERVER_ALLOWED_HOSTS="flows.example, Other.example",
        LOKKI_SERVER_TRUSTED_PROXIES=f"{PROXY},127.1.0.0/16",
    )


@pytest.fixture
def stranger(locked):
    """Makes clients that have not logged in, each from an address of its own."""
    with ExitStack() as clients:

        def made(address=None):
            address = address or f"127.0.0.{next(ADDRESSES)}"
            transport = httpx.HTTPTransport(local_address=address)
            client = httpx.Client(base_url=locked.client.base_url, transport=transport, timeout=30)
            return clients.enter_context(client)

        yield made


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x",
     f"Bearer {TOKEN[:-1]}", TOKEN, b"Bearer \xff\xe9"],
)  # fmt: skip
def test_without_the_token_nothing_is_reported(stranger, authorization):
    client = stranger()
    headers = {} if authorization is None else {"Authorization": authorization}
    for path in ("/runs", "/flows", "/openapi.json", "/runs/x/events", "/events", "/nosuch"):
        answer = client.get(path, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.headers["content-type"] == "application/problem+json"
        assert has_headers(answer)
    assert client.post(START, json={}, headers=headers).status_code == 401


def test_the_document_says_where_the_token_is_needed(server, locked, stranger):
    client, needed = stranger(), [{"bearer": []}]
    document = locked.get("/openapi.json")
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    for path, operations in document["paths"].items():
        url = re.sub(r"\{\w+\}", "1", path.replace("{name}", "words"))
        for method, operation in operations.items():
            answer = client.request(method, url, json={} if method == "post" else None)
            is_refused = answer.headers.get("www-authenticate") == "Bearer"
            assert is_refused is (operation.get("security") == needed), path

    document = server.get("/openapi.json")  # it has no token
    assert document["paths"]["/runs"]["get"]["security"] == [*needed, {}]
    assert "security" not in document["paths"]["/healthz"]["get"]


@pytest.mark.parametrize("way", ["login", "header"])
def test_wrong_tokens_are_limited_for_each_address(stranger, locked, way):
    client = stranger()

    def tried(token, client=client):
        if way == "login":
            return client.post("/login", json={"token": token})
        return client.get("/runs", headers={"Authorization": f"Bearer {token}"})

    cookie = {"Cookie": client.post("/login", json={"token": TOKEN}).headers["set-cookie"]}
    client.cookies.clear()
    answers = [tried(f"guess {number}") for number in range(12)]
    assert [answer.status_code for answer in answers] == [401] * 10 + [429] * 2
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60
    assert answers[-1].json()["title"] == "Too many wrong tokens"
    assert tried(TOKEN).status_code == 429, "a right guess must not be told from a wrong one"
    assert client.get("/runs", headers=cookie).status_code == 200, "who is in stays in"
    assert tried(TOKEN, stranger()).status_code in (200, 204), "others are not concerned"


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
def test_the_token_opens(locked, scheme):
    answer = locked.client.get("/flows", headers={"Authorization": f"{scheme} {TOKEN}"})
    assert answer.status_code == 200


def test_pages_and_health_are_open(locked):
    for path in ("/", "/ui/runs", "/healthz", "/session"):
        answer = locked.client.get(path, headers={"Authorization": ""})
        assert answer.status_code == 200
    assert locked.client.get("/session").json()["login_needed"] is False


@pytest.mark.parametrize(
    "host",
    ["localhost", "127.0.0.1:1", "203.0.113.5", "[2001:db8::1]:8765", socket.gethostname(),
     "flows.example", "FLOWS.example:443", "other.example"],
)  # fmt: skip
def test_with_a_token_the_server_has_the_names_that_it_is_given(locked, host):
    assert locked.client.get("/flows", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "www.flows.example", "flows.example.", "user@flows.example", "localhost#", ""],
)
def test_with_a_token_another_host_is_refused(locked, host):
    for path in ("/flows", "/healthz", "/"):
        answer = locked.client.get(path, headers={"Host": host})
        assert answer.status_code == 421
        assert "server.allowed_hosts" in answer.json()["detail"]
        assert has_headers(answer)


def guessed(client, **headers):
    headers = {"Authorization": "Bearer wrong", **headers}
    return client.get("/runs", headers=headers).status_code


def test_a_client_cannot_say_where_it_comes_from(place):
    place.write("flows.py")
    client = place.serve("flows.py", LOKKI_SERVER_TOKEN=TOKEN).client
    forwarded = [{"X-Forwarded-For": f"203.0.113.{number}"} for number in range(12)]
    assert [guessed(client, **each) for each in forwarded] == [401] * 10 + [429] * 2


def test_a_proxy_that_is_trusted_can(stranger):
    proxy = stranger(PROXY)
    assert [guessed(proxy, **{"X-Forwarded-For": "203.0.113.1"}) for _ in range(11)][-1] == 429
    assert guessed(proxy, **{"X-Forwarded-For": "203.0.113.2"}) == 401
    hop = {"X-Forwarded-For": "203.0.113.2, 203.0.113.1, 127.1.0.7"}
    assert guessed(proxy, **hop) == 429, "what a client says itself is in front"


@pytest.mark.parametrize("proxies", ["proxy.example", "10.0.0.1/8", "*", "10.0.0.1,,x"])
def test_trusted_proxies_are_addresses(place, proxies):
    place.write("flows.py")
    done = subprocess.run(
        [sys.executable, "-m", "lokki", "serve", "--port", "0"],
        env=os.environ | {"LOKKI_SERVER_TRUSTED_PROXIES": proxies},
        cwd=place.folder, capture_output=True, text=True, timeout=40,
    )  # fmt: skip
    assert done.returncode == 1
    assert "is not an IP address or a network: write one such as 10.0.0.1 or 10" in done.stderr
    assert "Traceback" not in done.stderr


LEAKS = """
import os
import subprocess
from lokki import flow, step

def seen():
    shell = subprocess.run(["sh", "-c", "echo ${LOKKI_SERVER_TOKEN-none}"], capture_output=True)
    return [os.environ.get("LOKKI_SERVER_TOKEN"), shell.stdout.decode()]

@step
def in_thread(at_import):
    return [at_import, seen()]

@step(executor="process")
def in_process(before):
    return [*before, seen()]

@flow
def leaks(at_import: list[str | None] = seen()):
    return in_thread(at_import).next(in_process)
"""


def test_code_of_flows_does_not_see_the_token(place):
    place.write("leaks.py", LEAKS)
    server = place.serve("leaks.py", LOKKI_SERVER_TOKEN=TOKEN)
    run = server.ran("leaks")
    assert server.get(f"/runs/{run['id']}/result")["result"] == [[None, "none\n"]] * 3


def test_a_token_is_no_leave_for_other_sites(locked):
    answer = locked.client.post(START, json={}, headers={"Origin": "http://evil.example"})
    assert answer.status_code == 403


def test_a_login_gives_a_cookie(locked):
    none = {"Authorization": ""}
    assert locked.client.get("/session", headers=none).json()["login_needed"] is True
    wrong = locked.client.post("/login", json={"token": "wrong"}, headers=none)
    assert (wrong.status_code, "set-cookie" in wrong.headers) == (401, False)
    right = locked.client.post("/login", json={"token": TOKEN}, headers=none)
    assert right.status_code == 204
    cookie = right.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert "Path=/" in cookie
    assert "domain" not in cookie.lower()
    assert TOKEN not in cookie
    locked.client.cookies.clear()
    value = cookie.partition(";")[0]
    with_cookie = {"Authorization": "", "Cookie": value}
    assert locked.client.get("/runs", headers=with_cookie).status_code == 200
    assert locked.client.get("/session", headers=with_cookie).json()["login_needed"] is False
    other = locked.client.post(
        START, json={}, headers={**with_cookie, "Origin": "http://evil.example"}
    )
    assert other.status_code == 403


@pytest.mark.parametrize(
    "cookie",
    ["lokki_session=", "lokki_session=wrong", 'lokki_session="\\351"', "lokki_session", ";;=;",
     b"lokki_session=\xe9", f"lokki_session={TOKEN}"],
)  # fmt: skip
def test_a_wrong_cookie_opens_nothing(locked, cookie):
    answer = locked.client.get("/runs", headers={"Authorization": "", "Cookie": cookie})
    assert answer.status_code == 401


@pytest.mark.parametrize("token", ["", "x" * 2000, 5, None, "é", "\0"])
def test_a_login_with_anything_else_is_refused(stranger, token):
    answer = stranger().post("/login", json={"token": token})
    assert answer.status_code in (401, 422)
    assert "set-cookie" not in answer.headers


def test_off_loopback_a_token_is_made(place):
    place.write("flows.py")
    server = place.begin("flows.py", "--host", "0.0.0.0")
    token = until(
        lambda: [line for line in server.told.splitlines() if "LOKKI_SERVER_TOKEN" in line],
        "the token",
    )[0].split()[-1]
    assert len(token) >= 40
    address = f"http://127.0.0.1:{server.client.base_url.port}"
    until(lambda: _answers(server, address), "an answer")
    assert server.client.get(f"{address}/runs").status_code == 401
    opened = server.client.get(f"{address}/runs", headers={"Authorization": f"Bearer {token}"})
    assert opened.status_code == 200


def _answers(server, address):
    try:
        return server.client.get(f"{address}/healthz").status_code == 200
    except httpx.TransportError:
        return False
