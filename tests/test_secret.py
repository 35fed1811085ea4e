"""A secret reaches the steps, and nothing else."""

from __future__ import annotations

import copy
import io
import json
import logging
import os
import pickle
import pty
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing

import forking
import pytest

from lokki import Engine, ParameterError, RunFailed, Secret, flow, step
from lokki.cli.parameters import parameters_from
from lokki.secret import redactable, redacted

pytestmark = pytest.mark.asyncio
WORD = "swordfish-1234"


@step
def names():
    return ["a", "b"]


@step
def opened(name, token):
    print(f"{name} with {token.value}")
    logging.getLogger("vault").warning("opening %s with %s", name, token.value)
    return name + token.value[-4:]


@step(executor="process")
def opened_elsewhere(name, token):
    print(f"{name} with {token.value}")
    return name + token.value[-4:]


@step
def refused(name, token):
    raise PermissionError(f"no {token.value} for {name}")


@flow
def vault(token: Secret[str]):
    return names().map(opened)


@flow
def vault_elsewhere(token: Secret[str]):
    return names().map(opened_elsewhere)


@flow
def vault_refusing(token: Secret[str]):
    return names().map(refused)


def stored(journal) -> bytes:
    """Everything that the journal's files hold."""
    with closing(sqlite3.connect(journal)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        text = "\n".join(connection.iterdump())
    return text.encode() + b"".join(each.read_bytes() for each in journal.parent.glob("lokki.db*"))


@pytest.mark.parametrize("each", [vault, vault_elsewhere])
async def test_a_step_gets_the_value_and_the_journal_does_not(each, journal, capfd, caplog):
    assert await each.run(token=Secret(WORD)) == ["a1234", "b1234"]
    assert WORD.encode() not in stored(journal)
    assert b"a with ***" in stored(journal)
    assert WORD not in capfd.readouterr().err


async def test_an_error_does_not_tell_it(journal):
    with pytest.raises(RunFailed) as raised:
        await vault_refusing.run(token=WORD)
    assert "no *** for a" in str(raised.value)
    assert WORD not in raised.value.traceback + str(raised.value)
    assert WORD.encode() not in stored(journal)


async def test_it_is_read_from_the_environment_in_a_run_and_in_a_resume(journal, monkeypatch):
    monkeypatch.setenv("LOKKI_SECRET_TOKEN", WORD)
    async with Engine() as engine:
        failing = engine.submit(vault_refusing)
        with pytest.raises(RunFailed):
            await failing.result()
        monkeypatch.delenv("LOKKI_SECRET_TOKEN")
        with pytest.raises(ParameterError, match=r"'token' is a secret.*set LOKKI_SECRET_TOKEN"):
            await engine.resume(failing.run_id, vault_refusing)
        monkeypatch.setenv("LOKKI_SECRET_TOKEN", "another-word")
        with pytest.raises(RunFailed, match=r"no \*\*\* for a"):
            await (await engine.resume(failing.run_id, vault_refusing)).result()


class Unpicklable:
    def __init__(self, word):
        self.word = word

    def __reduce__(self):
        raise ValueError(f"no pickle of {self.word}")


@step
def unpicklable(name, token):
    return Unpicklable(token.value)


@step(executor="process")
def unpicklable_elsewhere(name, token):
    return Unpicklable(token.value)


@step
def noted(name, token):
    error = type(f"Odd_{token.value}", (Exception,), {})("one")
    error.add_note(f"a note on {token.value}")
    try:
        raise KeyError(token.value)
    except KeyError as cause:
        raise ExceptionGroup(token.value, [error, ValueError(token.value)]) from cause


@step
def oddly_named(name, token):
    raise type(f"Odd_{token.value}", (Exception,), {})(token.value)


@pytest.mark.parametrize("each", [unpicklable, unpicklable_elsewhere, noted, oddly_named])
async def test_no_error_of_any_kind_tells_it(each, journal, capfd):
    @flow
    def telling(token: Secret[str]):
        return names().map(each)

    with pytest.raises(RunFailed) as raised:
        await telling.run(token=WORD)
    error = raised.value
    assert "***" in f"{error} {error.type} {error.traceback}"
    assert WORD not in f"{error} {error.type} {error.traceback}"
    assert WORD.encode() not in stored(journal)
    assert WORD not in "".join(capfd.readouterr())


async def test_a_result_cannot_hold_it(journal):
    @step
    def leaking(name, token):
        return token

    @flow
    def leak(token: Secret[str]):
        return names().map(leaking)

    with pytest.raises(RunFailed, match=r"result of step 'leaking' cannot be stored.*Secret"):
        await leak.run(token=WORD)


async def test_it_is_checked_without_being_reported():
    @flow
    def counted(pin: Secret[int], spare: Secret[int] | None = None):
        return names()

    assert counted(pin="12345").params == {"pin": Secret(12345), "spare": None}
    with pytest.raises(ParameterError) as raised:
        counted(pin="12x45")
    assert str(raised.value) == "counted: parameter 'pin' is a secret that must be int"
    with pytest.raises(ParameterError, match="'pin' is a secret and missing"):
        counted()


async def test_it_shows_itself_as_stars():
    secret = Secret(WORD)
    assert WORD not in f"{secret} {secret!r} {[secret]}"
    assert secret.value == WORD
    assert secret == Secret(WORD)
    assert hash(secret) == hash(Secret(WORD))
    assert secret != Secret("another")
    assert secret != WORD
    with pytest.raises(TypeError, match="cannot be stored"):
        pickle.dumps(secret)


_SCRIPT = """
from lokki import Secret, flow, main, step
@step
def length(token): return len(token.value)
@flow
def measured(token: Secret[str]): return length()
if __name__ == "__main__": main(measured)
"""


def _call(path, *arguments, **environ):
    environment = {**os.environ, **environ}
    return forking.done([str(path), *arguments], env=environment, stdin=subprocess.DEVNULL)


async def test_it_is_no_option_of_the_command_line(tmp_path, journal):
    path = tmp_path / "measured.py"
    path.write_text(_SCRIPT)
    refused = _call(path, "run", "--token", WORD)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--token" in refused.stderr
    missing = _call(path, "run")
    assert missing.returncode == 2
    assert "set LOKKI_SECRET_TOKEN" in missing.stderr
    done = _call(path, "run", LOKKI_SECRET_TOKEN=WORD)
    assert (done.returncode, done.stdout) == (0, f"{len(WORD)}\n"), done.stderr
    shown = _call(path, "show", "last", "--json")
    assert '"token": "***"' in shown.stdout
    assert WORD.encode() not in stored(journal)


async def test_it_is_no_option_but_named_in_the_help(tmp_path):
    path = tmp_path / "measured.py"
    path.write_text(_SCRIPT)
    assert (
        "token is a secret: set LOKKI_SECRET_TOKEN, or type it" in _call(path, "run", "-h").stdout
    )
    told = _call(path, "run", "--token", WORD).stderr
    assert "--token is a secret: set LOKKI_SECRET_TOKEN" in told
    assert WORD not in told
    empty = _call(path, "run", LOKKI_SECRET_TOKEN="")
    assert empty.returncode == 2
    assert "set LOKKI_SECRET_TOKEN" in empty.stderr


async def test_a_resume_without_it_is_wrong_usage_and_a_dry_run_needs_none(tmp_path, journal):
    path = tmp_path / "measured.py"
    path.write_text(_SCRIPT)
    assert _call(path, "run", LOKKI_SECRET_TOKEN=WORD).returncode == 0
    missing = _call(path, "resume", "last", "--from", "length")
    assert missing.returncode == 2
    assert "set LOKKI_SECRET_TOKEN" in missing.stderr
    planned = _call(path, "resume", "last", "--from", "length", "--dry-run")
    assert (planned.returncode, planned.stdout) == (0, "length: all of it, as requested\n")


async def test_a_resume_of_what_has_succeeded_needs_none(tmp_path, journal):
    path = tmp_path / "measured.py"
    path.write_text(_SCRIPT)
    assert _call(path, "run", LOKKI_SECRET_TOKEN=WORD).returncode == 0
    again = _call(path, "resume", "last")
    assert (again.returncode, again.stdout) == (0, f"{len(WORD)}\n"), again.stderr
    wrong = _call(path, "resume", "last", "--from", "nope")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr == "Error: the flow has no stage 'nope'; it has length\n"


async def test_what_is_asked_for_is_in_no_environment(monkeypatch):
    asked = []
    monkeypatch.setattr("sys.stdin", io.StringIO())
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("click.prompt", lambda name, **_: asked.append(name) or WORD)
    assert parameters_from(vault, None, {}) == {"token": Secret(WORD)}
    assert "LOKKI_SECRET_TOKEN" not in os.environ
    assert asked == ["token (not shown; LOKKI_SECRET_TOKEN sets it, too)"]


async def test_a_file_of_parameters_may_not_hold_it(tmp_path, journal):
    path, file = tmp_path / "measured.py", tmp_path / "params.json"
    path.write_text(_SCRIPT)
    file.write_text(json.dumps({"token": WORD}))
    refused = _call(path, "run", "--params", str(file), LOKKI_SECRET_TOKEN=WORD)
    assert (refused.returncode, refused.stdout) == (2, "")
    told = f"{file}: parameter 'token' is a secret: set LOKKI_SECRET_TOKEN instead\n"
    assert refused.stderr.endswith(told)
    assert WORD not in refused.stderr
    assert not journal.exists()


async def test_a_resume_may_be_given_it(journal):
    async with Engine() as engine:
        failing = engine.submit(vault_refusing, {"token": WORD})
        with pytest.raises(RunFailed):
            await failing.result()
        again = await engine.resume(failing.run_id, vault_refusing, secrets={"token": "another"})
        with pytest.raises(RunFailed, match=r"no \*\*\* for a"):
            await again.result()


async def test_its_lines_and_what_repr_and_json_make_of_it_are_redacted():
    key = '-- begin --\nab"c\\dé\nxyz\n'
    secrets = redactable([Secret(key), Secret("begin"), Secret("abc")])
    for text in (key, repr(key)[1:-1], json.dumps(key)[1:-1], "-- begin --", 'ab"c\\dé', "begin"):
        assert redacted(f"<{text}>", secrets) == "<***>"
    assert redacted("abc xyz", secrets) == "abc xyz"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("ä/b c=d", ["ä/b c=d", "%C3%A4/b%20c%3Dd", "%C3%A4%2Fb+c%3Dd", "\\xc3\\xa4/b c=d"]),
        (b"word-1", ["word-1", "b'word-1'"]),
        ({"user": "me, myself", "word": ["word-1", b"word-2"]}, ["word-1", "word-2", "me, myself"]),
        (12345, ["12345"]),
    ],
)
async def test_what_is_in_it_is_redacted_as_it_is_usually_written(value, shown):
    for text in shown:
        assert redacted(f"<{text}>", redactable([Secret(value)])) == "<***>"


async def test_a_copy_of_it_is_itself():
    secret = Secret(WORD)
    assert copy.copy(secret) is secret
    assert copy.deepcopy([secret])[0] is secret


async def test_ctrl_c_at_the_question_ends_the_run(tmp_path):
    path = tmp_path / "measured.py"
    path.write_text(_SCRIPT)
    ours, theirs = pty.openpty()
    command = [sys.executable, str(path), "run"]
    options = {"stdin": theirs, "stdout": theirs, "stderr": theirs, "start_new_session": True}
    with subprocess.Popen(command, **options) as process:
        os.close(theirs)
        told = ""
        while "not shown" not in told:
            told += os.read(ours, 1024).decode()
        process.send_signal(signal.SIGINT)
        assert process.wait(50) == 130
    os.close(ours)
    assert told.startswith("token (not shown; LOKKI_SECRET_TOKEN sets it, too): ")
