"""Fixtures for the tests of the command line: whole processes, and runs with fixed times."""

from __future__ import annotations

import subprocess
from contextlib import closing
from datetime import UTC, datetime

import forking
import pytest
from refusing import way
from serving import Place, environment

from lokki.model.structure import dumped, of_text
from lokki.store.codec import dumps
from lokki.store.journal import Journal
from lokki.store.outcomes import Outcomes
from lokki.store.records import Opening
from lokki.store.rows import StageRow, stage_id
from lokki.store.spans import Span

__all__ = ["way"]

AT = datetime(2026, 2, 3, 10, 30, tzinfo=UTC).timestamp()
TRACE = 'Traceback (most recent call last):\n  File "/flows/crunch.py", line 12, in crunch\n'


@pytest.fixture
def terminal(tmp_path, monkeypatch):
    """Makes the environment of a terminal that is 80 columns wide, in UTC."""
    home = tmp_path / "home"
    home.mkdir()
    for name, value in {"HOME": home, "TZ": "UTC", "COLUMNS": 80, "PYTHONUTF8": 1}.items():
        monkeypatch.setenv(name, str(value))
    for name in ("NO_COLOR", "FORCE_COLOR", "PYTHONIOENCODING"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def start(request, terminal):
    """Start ``lokki …``, or ``python file.py …`` for a first argument that ends with ``.py``."""
    processes = []
    imported = forking.AWS if "rehearsal" in request.fixturenames else forking.CLI

    def started(*arguments: object, **options):
        words = [str(each) for each in arguments]
        program = [] if words and words[0].endswith(".py") else ["-m", "lokki"]
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        process = forking.started([*program, *words], imported, **options)
        processes.append(process)
        return process

    yield started
    for process in processes:
        with process:
            process.kill()


@pytest.fixture
def done(start):
    """Run such a command to its end; gives its exit code, stdout and stderr."""

    def ended(*arguments: object):
        process = start(*arguments)
        out, err = process.communicate(timeout=50)
        return process.returncode, out, err

    return ended


@pytest.fixture(scope="module")
def elsewhere(request, tmp_path_factory):
    """The options for a server of the module's ``FLOWS``, which its tests share."""
    place = Place(tmp_path_factory.mktemp("elsewhere"))
    place.write("flows.py", request.module.FLOWS)
    with pytest.MonkeyPatch.context() as patch:
        environment(place.folder, patch)
        patch.setenv("LOKKI_SECRET_PASSWORD", "sesame")
        server = place.serve("flows.py", "--runners", "1")
        yield ("--on", str(server.client.base_url).rstrip("/"))
    place.close()


@pytest.fixture
def shared_build(build_dir, monkeypatch):
    """Have commands build in one folder, where what packages need is installed once."""
    monkeypatch.setenv("LOKKI_BUILD_DIR", build_dir)


@pytest.fixture
def record(journal):
    """Record a run: its stages are name, kind, seconds, and an outcome an item.

    An outcome is ``"ok"``, ``"pending"``, or a status with the type and the message of an error.
    ``spent`` are the positions of inner steps of its maps, each with the seconds of a call.
    """

    def recorded(
        run_id="20260203-103000-000abcde",
        *stages,
        flow="crunching",
        started_by="python crunch.py run",
        at=AT,
        status="succeeded",
        seconds=75.5,
        params="{}",
        error=None,
        lines=(),
        shape="a → map(b)",
        spent=(),
    ):
        with closing(Journal(journal)) as book:
            number = book.create(
                run_id,
                flow=flow,
                source=None,
                fingerprint="p",
                structure=dumped(of_text(shape)),
                params=dumps({}),
                params_json=params,
                now=at,
                started_by=started_by,
            ).result()
            writer = book.own(run_id, lambda error: None)
            for position, (name, kind, took, outcomes) in enumerate(stages):
                row = StageRow(
                    stage_id(number, position),
                    run_id,
                    position,
                    name,
                    kind,
                    at,
                    None,
                    len(outcomes),
                )
                writer.add(Opening(row))
                writer.add(_outcomes(row, outcomes, at, at + seconds, spent))
                if took is not None:
                    book.close_stage(run_id, position, at + took).result()
            for line in lines:
                writer.log(line)
            book.commits.release(writer)
            if status != "running":
                book.finish(run_id, status, at + seconds, error).result()
            else:
                book.flush(run_id).result()
        return run_id

    return recorded


def _outcomes(row, outcomes, at, end, spent):
    counts = [0, 0, 0, 0]
    found = Outcomes(row.id, spent=list(spent) if row.kind == "map" else [])
    for index, outcome in enumerate(outcomes):
        key = row.id << 32 | index
        if outcome == "ok":
            found.spans.append(Span.of(index, at, [end], [(b"",)]))
            counts[0] += 1
        elif outcome != "pending":
            status, *failure = outcome
            found.items.append((key, status, 0, 1, at, end, None, None))
            if status in ("failed", "tolerated", "retrying"):
                counts[("", "failed", "tolerated", "retrying").index(status)] += 1
                found.failures.append((key, row.name, 1, at, *failure, TRACE, None))
    found.counts = tuple(counts)
    return found
