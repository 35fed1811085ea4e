"""``lokki doctor``: what it finds, and what it advises."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest

from lokki.store.journal import Journal

FLOW = """
from lokki import flow, step

@step
def greeting():
    return "hello"

@flow
def greet():
    return greeting()
"""


@pytest.fixture
def states(done):
    """The checks of a folder, as JSON, by subject: a list of state, found, advice; the code."""

    def checked(*sources):
        code, out, err = done("doctor", "--json", *sources)
        assert err == ""
        found: dict[str, list[tuple[str, str, str | None]]] = {}
        for each in json.loads(out):
            found.setdefault(each["subject"], []).append(
                (each["state"], each["found"], each["advice"])
            )
        return code, found

    return checked


def test_a_machine_in_order(done, terminal, record):
    (terminal / "greeting.py").write_text(FLOW)
    record()
    code, out, err = done("doctor")
    assert (code, err) == (0, "")
    lines = [line.split(maxsplit=1) for line in out.splitlines()]
    assert {state for state, _ in lines} == {"ok"}
    assert "in threads and a worker process" in out
    assert "lokki.db: 1 succeeded\n" in out
    assert "flows           greet\n" in out
    assert "AWS             not used: no bucket is configured (aws.artifact_bucket)\n" in out


def test_nothing_is_left_behind(states, terminal, journal):
    before = set(terminal.rglob("*"))
    code, found = states()
    assert code == 0
    assert found["journal"] == [("ok", f"{journal}, which the first run makes", None)]
    assert set(terminal.rglob("*")) == before


def test_a_wrong_configuration(states, terminal):
    (terminal / "lokki.toml").write_text("[local]\nconcurrency = 0\n[aws]\nbuckett = 1\n")
    code, found = states()
    assert code == 1
    [(state, text, _)] = found["configuration"]
    assert state == "error"
    assert "local.concurrency" in text
    assert "aws.buckett" in text
    assert found["a run"][0][0] == "ok"


def test_a_variable_that_sets_nothing(states, monkeypatch):
    monkeypatch.setenv("LOKKI_JOURNAL", "birds.db")
    code, found = states()
    assert code == 0
    assert found["configuration"][1] == (
        "warning",
        "the variable LOKKI_JOURNAL is unknown; did you mean LOKKI_LOCAL_JOURNAL?",
        "correct its name, or unset it",
    )


def test_packages_that_are_too_old(states, terminal, monkeypatch):
    for name, version in (("anyio", "4.2.0"), ("fastapi", "0.99.1")):
        folder = terminal / "old" / f"{name}-{version}.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
    monkeypatch.setenv("PYTHONPATH", str(terminal / "old"))
    code, found = states()
    assert code == 1
    [(state, text, advice)] = found["packages"]
    assert state == "error"
    assert text.startswith("anyio 4.2.0, but lokki needs >= 4.11; fastapi 0.99.1, but lokki needs ")
    assert advice.startswith("pip install 'anyio>=4.11' 'fastapi>=0.")
    assert "server" in found["extras"][0][1]


def test_a_damaged_journal(states, journal):
    journal.parent.mkdir()
    journal.write_text("birds\n" * 1000)
    code, found = states()
    assert code == 1
    [(state, text, _)] = found["journal"]
    assert (state, "not a database" in text) == ("error", True)
    assert found["large results"][0][0] == "ok"


def test_pages_of_a_journal_that_are_gone(states, record, journal):
    record("20260203-103000-000abcde", ("crunch", "map", 1, ["ok"] * 5000))
    size = journal.stat().st_size
    with journal.open("r+b") as file:
        file.seek(2 * 4096)
        file.write(b"\xff" * (size - 3 * 4096))
    code, found = states()
    assert code == 1
    assert found["journal"][0][0] == "error"
    assert "damaged" in found["journal"][0][1]


def test_a_journal_that_another_process_locks(states, record, journal):
    record()
    with closing(sqlite3.connect(journal)) as other:
        other.execute("BEGIN IMMEDIATE")
        code, found = states()
    assert code == 1
    [(state, text, _)] = found["journal"]
    assert (state, "another process has locked it" in text) == ("error", True)


def test_a_journal_on_postgresql_is_looked_for_where_its_url_says(states, postgres, monkeypatch):
    def seen(url):
        monkeypatch.setenv("LOKKI_LOCAL_JOURNAL", url)
        [check] = states()[1]["journal"]
        return check

    place = postgres.journal()
    state, text, _ = seen(postgres.url("nowhere"))
    assert (state, "no schema of its search_path exists" in text) == ("error", True)
    Journal(place).close()
    state, text, _ = seen(place.url)
    assert (state, text.endswith(": no runs")) == ("ok", True)
    state, text, advice = seen(postgres.journal().url)
    assert state == "warning"
    assert "but one is in" in text
    assert "search_path" in advice


def test_a_place_that_is_not_writable(states, terminal, monkeypatch):
    file = terminal / "file"
    file.touch()
    monkeypatch.setenv("LOKKI_LOCAL_JOURNAL", str(file / "new" / "lokki.db"))
    code, found = states()
    assert code == 1
    for subject in ("journal", "large results"):
        [(state, text, _)] = found[subject]
        assert (state, f"{file} is not writable" in text) == ("error", True)


def test_files_that_cannot_be_imported(states, terminal):
    (terminal / "good.py").write_text(FLOW)
    (terminal / "bad.py").write_text(FLOW.replace("greet()", "greet(") + "\n")
    code, found = states(".")
    assert code == 1
    assert found["flows"][0] == ("ok", "greet", None)
    state, text, advice = found["flows"][1]
    assert (state, "SyntaxError" in text) == ("error", True)
    assert advice == f"see it with `lokki flows {terminal / 'bad.py'}`"


def test_only_files_that_cannot_be_imported(states, terminal):
    (terminal / "bad.py").write_text("import no_such_module_of_mine\n")
    code, found = states(terminal / "bad.py")
    [(state, text, _)] = found["flows"]
    assert (code, state) == (1, "error")
    assert "no_such_module_of_mine" in text


@pytest.fixture
def account(rehearsal, aws, monkeypatch):
    """Have the commands use an AWS at a URL, by default the rehearsal's."""

    def used(endpoint=rehearsal.endpoint):
        monkeypatch.setenv("LOKKI_AWS_ENDPOINT", endpoint)
        monkeypatch.setenv("LOKKI_ARTIFACT_BUCKET", "birds-of-doctor")

    used()
    return used


def test_an_account(states, account):
    code, found = states()
    assert code == 0
    assert "AWS account 123456789012, eu-north-1, as arn:aws:" in found["AWS"][0][1]
    assert found["bucket"] == [("ok", "birds-of-doctor is made by `deploy`", None)]
    for service in ("CloudFormation", "Step Functions", "Lambda", "logs"):
        assert found[service] == [("ok", "answers", None)]
    assert "ECR" not in found
    assert found["uv"][0][0] == "ok"


def test_an_account_whose_limits_are_not_to_be_seen(states, account, way):
    way.refuses["account-settings"] = 403, "AccessDeniedException"
    account(way.endpoint)
    code, found = states()
    assert code == 0
    [(state, text, advice)] = found["Lambda"]
    assert (state, "lambda:GetAccountSettings" in text) == ("warning", True)
    assert advice == "maps will run at most 1,000 functions at a time"


def test_an_account_that_is_out_of_reach(states, account):
    account("http://127.0.0.1:9")
    code, found = states()
    assert code == 1
    assert found["AWS"][0][0] == "error"
    assert "127.0.0.1:9" in found["AWS"][0][1]
