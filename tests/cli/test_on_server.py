"""The commands with ``--on URL`` print what they print on the machine itself."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import Place, Server

FLOWS = """
import logging, time
from datetime import date
from pathlib import Path
from lokki import Secret, flow, main, step

MENDED = Path(__file__).with_name("mended")

@step
def numbers(count):
    print("counting to", count)
    return range(count)

@step(retry={"retries": 1, "delay": 0.001})
def work(number):
    if number == 3:
        logging.getLogger("work").warning("the third")
        if not MENDED.exists():
            raise ValueError("no 3")
    return number

@step
def joined(values):
    return tuple(values), date(2026, 2, 3)

@step
def waits(value):
    print("waiting")
    while not MENDED.exists():
        time.sleep(0.01)

@step
def naps(number):
    if number == 0:
        print("waiting")
    time.sleep(0.02)

@flow
def long():
    return numbers(5000).map(naps)

@step
def own(value):
    return Own()

@step
def size(password):
    return len(password.value)

class Own: pass

@flow
def tried(count: int = 5, tolerated: float = 0):
    return numbers(count).map(work, tolerated_failures=tolerated).agg(joined)

@flow
def waiting():
    return waits(1)

@flow
def listed():
    return numbers(3).map(work)

@flow
def owned():
    return own(1)

@flow
def hidden(password: Secret[str]):
    return size(password)
"""


@pytest.fixture
def place(terminal: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setenv("COLUMNS", "200")
    made = Place(terminal)
    (terminal / "tried.py").write_text(FLOWS + "\nif __name__ == '__main__':\n    main(tried)\n")
    yield made
    made.close()


@pytest.fixture
def server(place: Place) -> Server:
    """A server with a journal of its own."""
    journal = place.folder / "there" / "lokki.db"
    return place.serve(
        "tried.py",
        "--runners",
        "1",
        LOKKI_LOCAL_JOURNAL=str(journal),
        LOKKI_SECRET_PASSWORD="sesame",
    )


@pytest.fixture
def url(server: Server) -> str:
    return str(server.client.base_url)


def same(text: str) -> str:
    """A text without what differs from run to run: ids, times, and where it was."""
    text = re.sub(r" --on http://\S+", "", text)
    text = re.sub(r"\d{8}-\d{6}-\w{8}", "RUN", text)
    text = re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d", "TIME", text)
    text = re.sub(r"\d\d:\d\d:\d\d", "TIME", text)
    text = re.sub(r"[\d.,]+m?s\b", "Ns", text)
    text = re.sub(r"[\d.,]+/s\b", "N/s", text)
    text = re.sub(r"by (lokki serve|python tried.py.*)", "by …", text)
    text = re.sub(r"http://\S+|/\S+/lokki.db", "PLACE", text)
    return re.sub(r" {2,}", "  ", text)


def compared(code, out, err):
    """What does not depend on time: which lines tell of progress does, and the order of both."""
    passing = re.compile(r" \(\d\d?%\) |(is|are) retrying$")
    told = [line for line in same(err).splitlines() if not passing.search(line)]
    return code, same(out), sorted(told)


def both(done, url, *words):
    """What a command prints here and there, which is the same: exit code, stdout, stderr."""
    here, there = done(*words), done(*words, "--on", url)
    assert compared(*here) == compared(*there)
    return there


def test_a_run_that_fails_is_shown_mended_and_resumed(done, url, place):
    code, out, err = both(done, url, "tried.py", "run", "--count", 5)
    assert (code, out) == (1, "")
    assert "ValueError: no 3" in err
    assert f"resume: python tried.py resume {newest(done, url)} --on {url}" in err
    both(done, url, "tried.py", "runs")
    assert "item 3" in both(done, url, "tried.py", "show", "last")[1]
    assert "counting to 5" in both(done, url, "tried.py", "logs")[1]
    dry = both(done, url, "tried.py", "resume", "last", "--dry-run")
    assert "1 of 5 items that failed" in dry[1]
    (place.folder / "mended").touch()
    code, out, err = both(done, url, "tried.py", "resume", "last")
    assert (code, out) == (0, "((0, 1, 2, 3, 4), datetime.date(2026, 2, 3))\n")
    assert "counting" not in err
    assert "resumed" in both(done, url, "tried.py", "show", "last")[1]


def newest(done, url):
    return json.loads(done("runs", "--json", "--on", url)[1])["runs"][0]["id"]


def test_tolerated_failures_are_reported_and_run_again(done, url, place):
    words = ("tried.py", "run", "--tolerated", "0.5")
    code, out, err = both(done, url, *words)
    assert (code, out) == (0, "((0, 1, 2, 4), datetime.date(2026, 2, 3))\n")
    assert "1 of 5 items failed, as is tolerated" in err
    (place.folder / "mended").touch()
    run = newest(done, url)
    code, out, _ = done("resume", run, "--failed", "--on", url)
    assert (code, out) == (0, "((0, 1, 2, 3, 4), datetime.date(2026, 2, 3))\n")
    code, out, err = done("resume", run, "--on", url)
    assert (code, out) == (0, "((0, 1, 2, 3, 4), datetime.date(2026, 2, 3))\n")
    assert "nothing runs again" in err


def test_json_lines_and_the_json_of_a_run(done, url, monkeypatch):
    monkeypatch.setenv("LOKKI_LOGGING_FORMAT", "json")
    code, _, err = done("tried.py", "run", "--on", url)
    assert code == 1
    told = [json.loads(line) for line in err.splitlines()]
    assert {"run_start", "step_start", "step_complete", "step_failed", "log"} <= {
        each["event"] for each in told
    }
    assert done("tried.py", "run")[0] == 1
    here, there = (json.loads(done("show", "last", "--json", *on)[1]) for on in ((), ("--on", url)))
    assert keys(here) == keys(there)
    here, there = (done("logs", "--json", *on)[1] for on in ((), ("--on", url)))
    assert without_ids_and_times(here) == without_ids_and_times(there)


def without_ids_and_times(text):
    """Lines of two runs are in other transactions, by which their ids are counted."""
    return re.sub(r'"id": \d+, "ts": "[^"]+"', "", text)


def keys(value):
    """The names in a JSON value."""
    if isinstance(value, dict):
        return {name: keys(each) for name, each in value.items()}
    return [keys(each) for each in value] if isinstance(value, list) else None


def test_logs_are_filtered_there(done, url):
    assert done("tried.py", "run", "--on", url)[0] == 1
    assert "the third" in done("logs", "--step", "work", "--item", 3, "--on", url)[1]
    assert done("logs", "--step", "work", "--level", "ERROR", "--on", url)[1].count("\n") == 1
    assert done("logs", "--step", "nosuch", "--on", url)[0] == 2
    assert done("logs", "--end", "1h", "--on", url)[1:] == ("", "no lines\n")


def until_told(process, line):
    while (told := process.stderr.readline()) != f"{line}\n":
        assert told


def test_ctrl_c_cancels_the_run_there(start, done, url, server):
    process = start("run", "tried.py:long", "--on", url)
    until_told(process, "waiting")
    process.send_signal(signal.SIGINT)
    assert "cancelling" in process.stderr.readline()
    _, err = process.communicate(timeout=40)
    assert process.returncode == 130
    assert "was cancelled" in err
    assert server.get("/runs/last")["status"] == "cancelled"


def test_a_run_is_cancelled_there_and_followed(start, done, url, server):
    run = server.start("long")
    server.until_status(run, "running")
    refused = done("unpause", run, "--on", url)
    assert refused == (1, "", f"Error: run {run} is not paused: it is running\n")
    following = start("logs", run, "--follow", "--on", url)
    assert "counting" in following.stdout.readline()
    cancelling = start("cancel", run, "--on", url)
    _, err = cancelling.communicate(timeout=40)
    assert cancelling.returncode == 0
    assert err.endswith(f"run {run} is cancelled; resume: lokki resume {run} --on {url}\n")
    following.communicate(timeout=40)
    assert following.returncode == 0
    assert "cancelled" in done("show", run, "--watch", "--on", url)[1]
    assert "has already been cancelled" in done("cancel", run, "--on", url)[2]


def test_a_server_that_is_started_anew_meanwhile_is_waited_for(start, place, server, url):
    process = start("run", "tried.py:waiting", "--on", url)
    until_told(process, "waiting")
    server.process.terminate()
    (server.folder / "mended").touch()
    server.process.wait(40)
    port = url.rpartition(":")[2]
    place.begin(
        "tried.py",
        "--port",
        port,
        LOKKI_LOCAL_JOURNAL=str(server.folder / "there" / "lokki.db"),
        LOKKI_SECRET_PASSWORD="sesame",
    )
    process.communicate(timeout=50)
    assert process.returncode == 0


def test_results_of_all_kinds(done, url):
    code, out, err = done("run", "tried.py:owned", "--on", url)
    assert (code, out) == (1, "")
    assert re.search(r"it is \S*Own, [\d,]+ bytes: /runs/\S+/result.pickle", err)
    assert done("run", "tried.py:listed", "--on", url)[:2] == (0, "[0, 1, 2]\n")


def test_secrets_are_those_of_the_server(done, url):
    assert done("run", "tried.py:hidden", "--on", url)[:2] == (0, "6\n")


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["show", "nosuch"], 1, "no run 'nosuch'"),
        (["show", "../x"], 1, "no run '../x'"),
        (["show", "last"], 1, "no runs yet on http://"),
        (["run", "tried.py:tried", "--count", "x"], 2, "'count'"),
        (["run", "other.py:other"], 1, "there is no flow 'other'"),
        (["resume", "last", "tried.py"], 2, "leave 'tried.py' out"),
        (["runs", "--before", "nosuch"], 1, "no run 'nosuch'"),
    ],
)
def test_what_is_wrong_is_reported(done, url, place, words, code, told):
    (place.folder / "other.py").write_text(FLOWS.replace("def tried(", "def other("))
    found, out, err = done(*words, "--on", url)
    assert (found, out) == (code, "")
    assert told in err
    assert "Traceback" not in err


def test_force_is_for_runs_of_this_machine(done, url):
    assert done("tried.py", "run", "--on", url)[0] == 1
    code, _, err = done("resume", "last", "--force", "--from", "work", "--on", url)
    assert code == 2
    assert "--force is for runs of this machine" in err


def test_a_server_that_is_not_there_is_reported(done, place):
    code, out, err = done("runs", "--on", "http://127.0.0.1:9")
    assert (code, out) == (1, "")
    assert err.startswith("Error: http://127.0.0.1:9 cannot be reached: ")
