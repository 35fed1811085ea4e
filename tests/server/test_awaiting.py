"""A service that is started before the PostgreSQL server of its journal, or without one."""

from __future__ import annotations

import re
import subprocess

import forking
import httpx
import pytest
from lokki_server.awaiting import await_journal
from serving import until

from lokki.errors import JournalError, JournalUnreachable
from lokki.postgres_url import PostgresUrl


@pytest.fixture
def stopped(postgres, monkeypatch):
    """A server of a journal, which has been stopped."""
    monkeypatch.setenv("LOKKI_LOCAL_JOURNAL", postgres.journal().url)
    postgres.stop()
    yield postgres
    if postgres.process.poll() is not None:
        postgres.start()


def test_the_service_waits_for_its_server_and_a_command_does_not(stopped, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = tmp_path / "told"
    with told.open("w") as log:
        words = ["-m", "lokki", "serve", "--port", "0"]
        serving = forking.started(words, forking.SERVER, stdout=log, stderr=subprocess.STDOUT)
    try:
        waits = "lokki serve waits for up to 300 s ([local] reconnect): the journal postgresql://"
        until(lambda: waits in told.read_text() or serving.poll(), "what it waits for")
        assert waits in told.read_text()
        runs = forking.done(["-m", "lokki", "runs"])
        assert (runs.returncode, "check that the server runs" in runs.stderr) == (1, True)
        stopped.start()
        url = until(lambda: re.search(r"lokki serves (http://\S+)\n", told.read_text()), "its URL")
        with httpx.Client(transport=httpx.HTTPTransport(retries=9)) as client:
            until(lambda: client.get(f"{url[1]}/readyz").is_success, "that it is ready")
    finally:
        serving.kill()
        serving.wait()


def test_it_ends_if_its_server_stays_away_or_has_no_such_database(postgres):
    told: list[str] = []
    nobody = PostgresUrl("postgresql://lokki@127.0.0.1:1/runs")
    with pytest.raises(JournalUnreachable, match=r"check that .* has waited for 0.3 s"):
        await_journal(nobody, 0.3, told.append)
    assert len(told) == 1
    none = PostgresUrl(f"postgresql://lokki@127.0.0.1:{postgres.port}/none")
    with pytest.raises(JournalError, match="createdb"):
        await_journal(none, 300, told.append)
    assert len(told) == 1
