"""The examples, as whole processes, with the commands that they name."""

from __future__ import annotations

import json
import os
import re
import subprocess
from ast import literal_eval
from importlib import import_module
from pathlib import Path

import forking
import pytest
from PIL import Image

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_birds(tmp_path):
    done = run("birds.py", "run", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "flappy goose, flappy duck, flappy seagul\n")


def test_reads_are_put_where_they_come_from(tmp_path):
    done = run("reads.py", "run", "--count", "12", "--processes", "2", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "12 of 12 reads are where they belong\n")
    assert len(list((tmp_path / "reads").glob("*.txt"))) == 13


def test_reads_are_the_same_for_the_same_seed(tmp_path):
    for name in ("one", "two"):
        assert run("reads.py", "run", "--count", "2", "--folder", name, folder=tmp_path).stdout
    one, two = ((tmp_path / name / "1.txt").read_text() for name in ("one", "two"))
    assert one == two


def test_stations_are_shown(tmp_path):
    done = run("stations.py", "run", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "station 2 is the warmest: 11.2 °C\n")
    saved = run("stations.py", "show", "last", "--save", "charts", folder=tmp_path)
    assert saved.returncode == 0
    files = [Path(line) for line in saved.stdout.splitlines()]
    assert sorted(each.suffix for each in files) == 3 * [".csv"] + [".md"] + 3 * [".svg"]
    table = (tmp_path / "charts" / "measured.1-2-station-2-month-by-month.csv").read_text()
    assert table.splitlines()[0] == "month,lowest,highest"
    assert len(table.splitlines()) == 13
    shown = run("stations.py", "show", "last", folder=tmp_path).stdout
    assert "measured[1]  station 2, month by month  table" in shown


def test_taxi_counts_a_year(tmp_path):
    done = run("taxi.py", "run", "--trips", "100", folder=tmp_path)
    assert done.returncode == 0
    assert re.fullmatch(
        r"2025: 1,\d{3} trips; the best tips were in [A-Z]\w+: \d\d\.\d %\n", done.stdout
    )
    assert run("taxi.py", "run", "--trips", "100", folder=tmp_path).stdout == done.stdout


def test_a_pipeline_publishes_what_passes_all_checks(tmp_path):
    done = run("pipeline.py", "run", folder=tmp_path)
    assert (done.returncode, done.stdout) == (
        0,
        "main is published: it passes compile, unit tests, command\n",
    )


def test_a_pipeline_ends_with_the_check_that_fails(tmp_path):
    done = run("pipeline.py", "run", "--revision", "broken", folder=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "AssertionError: 'duck: flap' != 'duck: quack'" in done.stderr
    assert "RuntimeError: 'unit tests' failed with exit code 1" in done.stderr


def test_pages_that_are_gone_are_tolerated_and_others_tried_again(tmp_path):
    done = run("pages.py", "run", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "98 pages; missing: [7, 57]\n")


def test_pages_go_on_after_an_outage(tmp_path):
    failed = run("pages.py", "run", folder=tmp_path, OUTAGE="60")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "ConnectionError" in failed.stderr
    before = shown(tmp_path)
    assert before["status"] == "failed"
    assert before["stages"][1]["succeeded"] >= 40
    told = run("pages.py", "resume", "last", "--failed", "--dry-run", folder=tmp_path)
    assert told.returncode == 0
    assert shown(tmp_path) == before
    done = run("pages.py", "resume", "last", "--failed", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "98 pages; missing: [7, 57]\n")
    after = shown(tmp_path)
    assert (after["id"], after["status"]) == (before["id"], "succeeded")
    assert after["stages"][0] == before["stages"][0]


def test_a_crawl_is_patient_and_goes_on_without_what_is_gone(tmp_path):
    done = run("crawl/crawl.py", "run", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "59 birds with 118 wings; gone: [42]\n")


def test_thumbnails_are_made_of_all_pictures_but_the_damaged_one(tmp_path):
    done = run("thumbnails/thumbnails.py", "run", "--count", "10", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "9 thumbnails; not read: ['9: OSError']\n")
    with Image.open(tmp_path / "pictures" / "thumbnails" / "sheet.jpg") as sheet:
        assert sheet.size == (8 * 128, 2 * 128)


def test_partitions_are_put_together_in_a_batch_job(tmp_path):
    done = run("partitions/trips.py", "run", "--trips", "300", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    zones = literal_eval(done.stdout)
    assert sum(zone["trips"] for zone in zones) == pytest.approx(12 * 300 * 0.98, rel=0.01)
    percents = [zone["percent"] for zone in zones]
    assert percents == sorted(percents, reverse=True)
    planned = run("partitions/trips.py", "plan", folder=tmp_path)
    assert re.search(r"^Batch vCPU-seconds", planned.stdout, re.MULTILINE), planned.stderr


def test_a_larger_search_reuses_the_points_of_a_smaller_one(tmp_path):
    for degrees in (5, 6):
        done = run("search/search.py", "run", "--degrees", str(degrees), folder=tmp_path)
        assert (done.returncode, done.stdout) == (0, "degree 5, penalty 0.001: error 0.038\n")
    stage = shown(tmp_path, "search/search.py")["stages"][1]
    assert (stage["total"], stage["reused"]) == (6 * 4, 5 * 4)
    assert (tmp_path / "search.png").read_bytes().startswith(b"\x89PNG")


def test_reviews_without_an_answer_are_tolerated(tmp_path):
    key = {"LOKKI_SECRET_API_KEY": "a-key-of-mine"}
    done = run("reviews/reviews.py", "run", folder=tmp_path, **key)
    told = "14 bad, 16 good, 8 neutral; 356 tokens; unanswered: [7, 27]\n"
    assert (done.returncode, done.stdout) == (0, told)


def test_the_weather_is_the_same_here_and_in_functions(tmp_path, monkeypatch, rehearsal):
    done = run("weather/weather.py", "run", folder=tmp_path)
    assert done.stdout.startswith("# Weather of 2026-02-03\n\n| station | low |")
    assert done.stdout.count("\n|") == 2 + 6
    monkeypatch.syspath_prepend(EXAMPLES / "weather")
    weather = import_module("weather").weather
    assert rehearsal.run(weather()).result + "\n" == done.stdout


def test_every_example_is_listed():
    page = (EXAMPLES / "README.md").read_text()
    folders = [f"{each.parent.name}/README.md" for each in EXAMPLES.glob("*/README.md")]
    assert set(re.findall(r"\]\((.*?)\)", page)) == {
        *folders,
        *(each.name for each in EXAMPLES.glob("*.py")),
    }


def shown(folder: Path, example: str = "pages.py") -> dict:
    return json.loads(run(example, "show", "last", "--json", folder=folder).stdout)


def run(
    example: str, *arguments: str, folder: Path, **environ: str
) -> subprocess.CompletedProcess[str]:
    own = os.environ | {"HOME": str(folder)} | environ
    return forking.done([str(EXAMPLES / example), *arguments], cwd=folder, env=own)
