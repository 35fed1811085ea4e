"""``lokki flows`` and ``lokki schedules``: what there is to run, here and on a server."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from datetime import datetime
from time import time

import pytest
from serving import Place, until

FLOWS = '''
import datetime
from typing import Literal
from lokki import Secret, flow, step

@step
def one():
    return 1

@flow(schedule="cron(0 9 * * ? 2190)", timezone="Asia/Tokyo")
def daily(
    count: int,
    mode: Literal["fast", "slow"] = "fast",
    dry: bool = False,
    day: datetime.date | None = None,
    names: list[str] = ["a"],
    password: Secret[str] = Secret("x"),
):
    """Count birds.

    More of it."""
    return one()

@flow(schedule="rate(5 minutes)")
def often():
    return one()

@flow
def never():
    return one()
'''


@pytest.fixture
def place(terminal):
    made = Place(terminal)
    made.write("birds.py", FLOWS)
    yield made
    made.close()


def test_flows_of_this_folder_are_listed_with_their_options(done, place):
    code, out, err = done("flows")
    assert (code, err) == (0, "")
    assert out == (
        "daily  birds.py\n"
        "  Count birds.\n"
        "  cron(0 9 * * ? 2190)  Asia/Tokyo\n"
        "  --count INT        [required]\n"
        "  --mode fast|slow   [default: fast]\n"
        "  --dry              [default: --no-dry]\n"
        "  --day YYYY-MM-DD\n"
        "  --names JSON LIST  [default: '[\"a\"]']\n"
        "  password is a secret: LOKKI_SECRET_PASSWORD sets it\n"
        "\n"
        "often  birds.py\n"
        "  rate(5 minutes)\n"
        "\n"
        "never  birds.py\n"
    )


def test_the_json_of_flows_is_that_of_a_server(done, place):
    server = place.serve("birds.py")
    url = str(server.client.base_url)
    until(lambda: server.get("/flows/often")["schedule"]["next"], "a schedule that is followed")
    code, out, _ = done("flows", "--json")
    told = json.loads(out)
    assert code == 0
    assert [each["name"] for each in told["flows"]] == ["daily", "often", "never"]
    there = server.get("/flows")
    told["flows"].sort(key=lambda each: each["name"])
    assert told == there
    assert json.loads(done("flows", "--json", "--on", url)[1]) == there
    drawn = done("flows", "--on", url)[1].split("\n\n")
    assert sorted(each.strip() for each in drawn) == sorted(
        each.strip() for each in done("flows")[1].split("\n\n")
    )
    code, _, err = done("flows", "birds.py", "--on", url)
    assert code == 2
    assert "leave 'birds.py' out: the server has its own files" in err


@pytest.mark.parametrize("command", ["flows", "schedules"])
@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("import nosuch\n", "broken.py cannot be imported"),
        ("import os\nos._exit(0)\n", "broken.py ended its process"),
        ("flow = 1\n@flow\ndef x(): pass\n", "broken.py cannot be imported"),
    ],
)
def test_a_file_that_cannot_be_imported_is_reported_and_the_others_listed(
    done, place, command, body, told
):
    place.write("broken.py", f"print('imported')\n{body}")
    code, out, err = done(command, "birds.py", "broken.py")
    assert code == 1
    assert "often" in out
    assert "imported" not in out
    assert told in err
    code, out, err = done(command, "--json", "broken.py", "birds.py")
    assert code == 1
    (problem,) = json.loads(out)["problems"]
    assert told in problem["error"]


def test_where_there_is_nothing_it_says_so(done, terminal):
    assert done("flows") == (0, "", "no flows; define one with @flow, or name its file or folder\n")
    code, out, err = done("schedules")
    assert (code, out) == (0, "")
    assert "@flow(schedule=" in err
    code, _, err = done("flows", "nosuch.py")
    assert code == 1
    assert re.fullmatch(r"Error: there is no file \S*nosuch.py\n", err)


def test_schedules_are_listed_with_their_next_times(done, place):
    code, out, err = done("schedules", "birds.py")
    assert (code, err) == (0, "")
    daily, often = out.split("\n\n")
    zone = f" {datetime(2190, 1, 1).astimezone():%Z}"
    assert daily == (
        "daily  birds.py\n  cron(0 9 * * ? 2190)  Asia/Tokyo\n  next      "
        f"2190-01-01 00:00:00{zone}, 2190-01-02 00:00:00{zone}, 2190-01-03 00:00:00{zone}\n"
        "  last run  none yet"
    )
    assert often.startswith("often  birds.py\n  rate(5 minutes)\n  next      ")
    code, out, _ = done("schedules", "--json")
    told = json.loads(out)["schedules"]
    assert [(each["flow"], each["expression"], each["timezone"]) for each in told] == [
        ("daily", "cron(0 9 * * ? 2190)", "Asia/Tokyo"),
        ("often", "rate(5 minutes)", "UTC"),
    ]
    assert told[0]["next"][0] == "2190-01-01T00:00:00.000Z"


def test_schedules_tell_of_their_last_runs_and_of_what_a_server_follows(done, place, journal):
    server = place.serve("birds.py")
    url = str(server.client.base_url)
    until(lambda: server.get("/flows/often")["schedule"]["next"], "a schedule that is followed")
    with closing(sqlite3.connect(journal)) as connection, connection:
        now = time()
        connection.execute(
            "UPDATE schedules SET since = ?, last = ? WHERE flow = 'often'", (now - 990, now - 690)
        )
    until(lambda: server.get("/flows/often")["schedule"]["missed"], "times that were missed")
    assert server.client.post("/flows/daily/schedule", json={"paused": True}).status_code == 200
    here, there = done("schedules"), done("schedules", "--on", url)
    assert here == there
    assert here[0] == 0
    daily, often = here[1].split("\n\n")
    assert (
        daily
        == "daily  birds.py\n  cron(0 9 * * ? 2190)  Asia/Tokyo\n  paused\n  last run  none yet"
    )
    assert "  missed    2, the last 20" in often
