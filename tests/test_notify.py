"""Notices of runs that end: what is sent, to whom, and what becomes of one that does not arrive."""

from __future__ import annotations

import base64
import json
import logging
import os
import socketserver
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from lokki import ConfigError, Engine, RunFailed, Secret, flow, step
from lokki.config import load
from lokki.notify import notifier
from lokki.rehearse.comparison import local_result


@contextmanager
def served(server):
    """The port of a server that answers meanwhile."""
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def posted():
    """What was posted to a server: path and body; and the statuses that it answers, then 200."""
    bodies, statuses = [], []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            bodies.append((self.path, json.loads(body)))
            self.send_response(statuses.pop(0) if statuses else 200)
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        def log_message(self, *arguments):
            """Nothing on stderr."""

    with served(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as port:
        yield f"http://127.0.0.1:{port}", bodies, statuses


@pytest.fixture
def mailed():
    """The port of a mail server without encryption; the commands and mails that it got."""
    lines = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            self.wfile.write(b"220 here\r\n")
            for raw in self.rfile:
                line = raw.decode().rstrip("\r\n")
                lines.append(line)
                if line.upper() == "DATA":
                    self.wfile.write(b"354 go on\r\n")
                    for each in self.rfile:
                        lines.append(each.decode().rstrip("\r\n"))
                        if each == b".\r\n":
                            break
                if line.upper() == "QUIT":
                    self.wfile.write(b"221 bye\r\n")
                    return
                self.wfile.write(b"550 unknown\r\n" if "nobody@" in line else b"250 ok\r\n")

    with served(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)) as port:
        yield port, lines


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(notifier, "_PAUSES", (0.01,) * 5)


@step
def birds(count):
    return list(range(count))


@step
def flap(bird, password):
    if bird == 2:
        raise ValueError(f"no wings, and <{password.value}>")
    return bird


@flow
def flapping(count: int, password: Secret[str] = Secret("tw33t")):
    return birds(count).map(flap, password=password)


async def ran(tmp_path, count, **settings):
    """The id of a run whose end is notified as these settings say."""
    given = {"on": "failed"} | settings  # the default holds in no test
    config = load({f"notify.{name}": value for name, value in given.items()})
    async with Engine(journal=tmp_path / "lokki.db", config=config) as engine:
        handle = engine.submit(flapping, {"count": count})
        try:
            await handle.result()
        except RunFailed:
            assert count > 2
        return handle.run_id


@pytest.mark.asyncio
async def test_a_webhook_gets_the_failure_without_secrets(posted, tmp_path):
    url, bodies, _ = posted
    run_id = await ran(tmp_path, 3, webhook=f"{url}/hooks?key=1")
    [(path, body)] = bodies
    assert path == "/hooks?key=1"
    error, at = body.pop("error"), body.pop("at")
    assert at.endswith("Z")
    assert body == {
        "event": "run.failed",
        "run": run_id,
        "flow": "flapping",
        "status": "failed",
        "text": f"flapping: run {run_id} has failed\n"
        "ValueError: no wings, and <***> (flap, item 2)\n"
        f"See: lokki show {run_id}",
    }
    assert (error["type"], error["step"], error["index"]) == ("ValueError", "flap", 2)
    assert "tw33t" not in json.dumps(error)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("on", "count", "sent"),
    [
        ("failed", 2, 0),
        ("succeeded", 2, 1),
        ("failed, succeeded", 2, 1),
        ("cancelled", 3, 0),
        ("never", 3, 0),
    ],
)
async def test_only_the_ends_that_are_named_are_notified(posted, tmp_path, on, count, sent):
    url, bodies, _ = posted
    await ran(tmp_path, count, webhook=url, on=on)
    assert len(bodies) == sent


@pytest.mark.asyncio
async def test_slack_gets_a_text_with_its_three_characters_escaped(posted, tmp_path):
    url, bodies, _ = posted
    await ran(tmp_path, 3, slack=url)
    [(_, body)] = bodies
    assert list(body) == ["text"]
    assert "&lt;***&gt;" in body["text"]


@pytest.mark.asyncio
async def test_a_server_that_is_not_ready_is_asked_again(posted, tmp_path, caplog):
    url, bodies, statuses = posted
    statuses += [503, 429, 500]
    await ran(tmp_path, 3, webhook=url)
    assert len(bodies) == 4
    assert not caplog.records


@pytest.mark.asyncio
@pytest.mark.parametrize(("statuses", "attempts"), [([404], 1), ([302], 1), ([503] * 9, 6)])
async def test_what_cannot_be_delivered_is_a_warning_and_fails_nothing(
    posted, tmp_path, caplog, statuses, attempts
):
    url, bodies, answers = posted
    answers += statuses
    caplog.set_level(logging.WARNING, "lokki.notify")
    run_id = await ran(tmp_path, 2, webhook=f"{url}/secret", on="succeeded")
    assert len(bodies) == attempts
    [record] = caplog.records
    expected = f"no notice of run {run_id} could be sent to webhook: HTTP status {statuses[0]}"
    assert record.getMessage().startswith(expected)
    assert "secret" not in record.getMessage()


@pytest.mark.asyncio
async def test_mail_goes_to_each_address(mailed, tmp_path):
    port, lines = mailed
    run_id = await ran(
        tmp_path, 3, email="a@example.com, b@example.com", smtp=f"smtp://127.0.0.1:{port}",
        sender="lokki@example.com",
    )  # fmt: skip
    assert {"rcpt to:<a@example.com>", "rcpt to:<b@example.com>"} <= set(map(str.lower, lines))
    assert f"Subject: flapping: run {run_id} has failed" in lines
    assert "ValueError: no wings, and <***> (flap, item 2)" in lines


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("user", "address", "why"),
    [
        ("birds:tw33t@", "a@example.com", "offers no STARTTLS: the password is not sent"),
        ("", "nobody@example.com", "all recipients were refused"),
    ],
)
async def test_a_mail_server_that_cannot_be_used_is_a_warning(
    mailed, tmp_path, caplog, user, address, why
):
    port, lines = mailed
    caplog.set_level(logging.WARNING, "lokki.notify")
    await ran(tmp_path, 3, email=address, smtp=f"smtp://{user}127.0.0.1:{port}")
    [record] = caplog.records
    assert why in record.getMessage()
    assert not any("tw33t" in line or base64.b64encode(b"tw33t").decode() in line for line in lines)


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"on": "failed, crashed"}, "notify.on: 'crashed' is no end of a run: use succeeded, "
         "failed, cancelled, or never"),
        ({"webhook": "hooks.example.com/tw33t"}, "notify.webhook is not a URL with http or https: "
         "such as https://hooks.example.com/lokki"),
        ({"slack": "https:///tw33t"}, "notify.slack has no host: write "
         "https://hooks.example.com/lokki, say"),
        ({"email": "birds"}, "notify: 'birds' is not an e-mail address"),
        ({"email": "a@example.com", "smtp": "http://birds:tw33t@x"}, "notify.smtp is not a URL "
         "with smtp or smtps: such as smtp://user:password@mail.example.com:587"),
        ({"sns": "birds"}, "notify.sns: 'birds' is not the ARN of a topic, such as "
         "arn:aws:sns:<region>:<account>:<name>"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_refused_before_anything_runs(tmp_path, settings, error):
    config = load({f"notify.{name}": value for name, value in settings.items()})
    with pytest.raises(ConfigError) as caught:
        Engine(journal=tmp_path / "lokki.db", config=config)
    assert str(caught.value) == error


def lokki(folder, *arguments, **variables):
    return subprocess.run(
        [sys.executable, "-m", "lokki", *arguments],
        cwd=folder,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_command_tries_each_target(posted, tmp_path):
    url, bodies, statuses = posted
    targets = {"LOKKI_NOTIFY_WEBHOOK": url, "LOKKI_NOTIFY_SLACK": f"{url}/slack"}
    statuses += [200, 404]
    tried = lokki(tmp_path, "notify", **targets)
    assert (tried.returncode, tried.stdout) == (1, "webhook: delivered\n")
    assert tried.stderr == "slack: not delivered: HTTP status 404 Not Found\n"
    assert [path for path, _ in bodies] == ["/", "/slack"]
    assert lokki(tmp_path, "notify", **targets).returncode == 0
    shown = lokki(tmp_path, "config", **targets)
    assert url not in shown.stdout
    assert "notify.slack" in shown.stdout
    none = lokki(tmp_path, "notify")
    assert none.returncode == 1
    assert "no target: set webhook, slack, email or sns in [notify]" in none.stderr


@pytest.mark.asyncio
async def test_the_run_that_a_rehearsal_compares_with_notifies_nobody(posted, monkeypatch):
    url, bodies, _ = posted
    monkeypatch.setenv("LOKKI_NOTIFY_WEBHOOK", url)
    monkeypatch.setenv("LOKKI_NOTIFY_ON", "failed")
    with pytest.raises(RunFailed):
        await local_result(flapping(3))
    assert not bodies


@pytest.mark.parametrize(("variable", "sent"), [(None, 0), ("failed", 1)])
def test_the_users_tests_notify_only_if_they_say_so(posted, tmp_path, monkeypatch, variable, sent):
    url, bodies, _ = posted
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lokki.toml").write_text(f'notify.webhook = "{url}"\nnotify.on = "failed"\n')
    if variable is not None:
        monkeypatch.setenv("LOKKI_NOTIFY_ON", variable)
    with pytest.raises(RunFailed):
        flapping.run_sync(3)
    assert len(bodies) == sent
