"""The commands as whole processes: ``python flow.py …`` and ``lokki …``."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from contextlib import closing
from pathlib import Path

import forking
import pytest

BIRDS = Path(__file__).parents[2] / "examples" / "birds.py"


def lokki(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return _process("-m", "lokki", *arguments, cwd=cwd)


def python(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return _process(*arguments, cwd=cwd)


def _process(*arguments: object, cwd: Path | None) -> subprocess.CompletedProcess[str]:
    return forking.done([*map(str, arguments)], cwd=cwd)


def run_id(done: subprocess.CompletedProcess[str]) -> str:
    """The run that a process has started, as its first line on stderr tells it."""
    told = re.fullmatch(r"\[INFO\] Run (\S+) of \S+ started", done.stderr.splitlines()[0])
    assert told is not None, done.stderr
    return told[1]


@pytest.fixture
def script(tmp_path):
    """Write a flow file and return its path."""

    def write(body: str, name: str = "mine.py") -> Path:
        path = tmp_path / name
        path.write_text("from lokki import flow, main, step\n" + textwrap.dedent(body))
        return path

    return write


@pytest.fixture
def shown(script):
    """A flow that prints its parameters."""
    return script(
        """
        import enum
        from datetime import date
        from pathlib import Path
        from typing import Literal

        class Colour(enum.Enum):
            RED = "red"
            BLUE = "blue"

        @step
        def told(**params):
            return repr(params)

        @flow
        def shown(
            limit: int,
            ratio: "float" = 0.5,
            dry: bool = False,
            names: list[str] = ["a"],
            sizes: dict[str, int] | None = None,
            mode: Literal["fast", "slow"] = "fast",
            colour: Colour = Colour.RED,
            day: date = date(2026, 1, 1),
            place: Path = Path("."),
            note: str | None = None,
        ):
            '''Show what it is given.'''
            return told()

        if __name__ == "__main__":
            main(shown)
        """
    )


def test_birds():
    done = python(BIRDS, "run")
    assert (done.returncode, done.stdout) == (0, "flappy goose, flappy duck, flappy seagul\n")
    clock = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d"
    ended = r"completed in \d+\.\d{3}s \(status=success\)"
    told = [rf"\[INFO\] Run {run_id(done)} of birds-flow started"]
    for step in ("get_birds", "flap_bird", "join_birds"):
        told.append(rf"\[INFO\] Step '{step}' started at {clock}")
        told += [r"\[={26}\] 3/3 \(100%\) completed"] * (step == "flap_bird")
        told.append(rf"\[INFO\] Step '{step}' {ended}")
    told.append(rf"\[INFO\] Run {run_id(done)} succeeded")
    assert re.fullmatch("\n".join(told) + "\n", done.stderr), done.stderr


@pytest.mark.parametrize("target", ["birds.py", "birds.py:birds_flow", "birds", "birds:birds-flow"])
def test_lokki_run_takes_files_modules_and_names(target):
    done = lokki("run", target, cwd=BIRDS.parent)
    assert done.stdout == "flappy goose, flappy duck, flappy seagul\n", done.stderr


def test_parameters_are_typed_options(shown):
    options = ["--limit", "5", "--ratio", "2", "--dry", "--names", '["x", "y"]', "--sizes"]
    options += ['{"a": 1}', "--mode", "slow", "--colour", "blue", "--day", "2026-11-24"]
    done = python(shown, "run", *options, "--place", "/tmp", "--note", "n")
    assert done.stdout == (
        "{'limit': 5, 'ratio': 2.0, 'dry': True, 'names': ['x', 'y'], 'sizes': {'a': 1}, "
        "'mode': 'slow', 'colour': <Colour.BLUE: 'blue'>, 'day': datetime.date(2026, 11, 24), "
        "'place': PosixPath('/tmp'), 'note': 'n'}\n"
    ), done.stderr


FLAGS = """
@step
def told(**params):
    return ",".join(f"{name}={value!r}" for name, value in params.items())

@flow
def flags(wet: bool = False, cold: bool | None = None, mild=True, top_speed: int = 1):
    return told()

if __name__ == "__main__":
    main(flags)
"""


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("", "wet=False,cold=None,mild=True,top_speed=1"),
        ("--wet --cold --no-mild", "wet=True,cold=True,mild=False,top_speed=1"),
        ("--wet true --cold FALSE --mild no", "wet=True,cold=False,mild=False,top_speed=1"),
        ("--wet=1 --cold=0 --mild=off", "wet=True,cold=False,mild=False,top_speed=1"),
        ("--wet --top_speed 9 --no_mild", "wet=True,cold=None,mild=False,top_speed=9"),
        ("--cold none --wet yes --no-wet", "wet=False,cold=None,mild=True,top_speed=1"),
        ("--no-wet --wet --top_speed=7", "wet=True,cold=None,mild=True,top_speed=7"),
    ],
)
def test_a_flag_may_have_a_value_and_an_option_underscores(script, options, told):
    path = script(FLAGS)
    for done in (python(path, "run", *options.split()), lokki("run", path, *options.split())):
        assert (done.returncode, done.stdout) == (0, f"{told}\n"), done.stderr


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--wet maybe", "parameter 'wet' must be true or false, not 'maybe'"),
        ("--wet=", "parameter 'wet' must be true or false, not ''"),
        ("--no-wet=true", "Option '--no-wet' does not take a value."),
        ("--wet true false", "Got unexpected extra argument (false)"),
        ("--top_sped 3", "No such option '--top-sped'. Did you mean '--top-speed'?"),
    ],
)
def test_a_flag_takes_nothing_but_truth(script, options, told):
    done = python(script(FLAGS), "run", *options.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr


def test_a_parameter_file_is_completed_by_options(shown, tmp_path):
    file = tmp_path / "params.json"
    file.write_text(json.dumps({"limit": 1, "note": "from file", "day": "2026-02-03"}))
    done = lokki("run", shown, "--params", file, "--limit", "2")
    assert "'limit': 2" in done.stdout
    assert "'note': 'from file'" in done.stdout
    assert "datetime.date(2026, 2, 3)" in done.stdout


@pytest.mark.parametrize("text", ["[1]", "{", '{"limt": 1}'])
def test_a_wrong_parameter_file_is_reported(shown, tmp_path, text):
    file = tmp_path / "params.json"
    file.write_text(text)
    done = python(shown, "run", "--limit", "1", "--params", file)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert str(file) in done.stderr


def test_mistakes_in_a_parameter_file_are_reported_with_it(shown, tmp_path):
    file = tmp_path / "params.json"
    file.write_text('{"limit": "x", "ratio": "x", "limt": 1, "day": "2026-02-03"}')
    done = python(shown, "run", "--params", file, "--ratio", "fast", "--day", "soon")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.partition("Error: ")[2].splitlines() == [
        f"shown: {file}: unknown parameter 'limt'; did you mean 'limit'?",
        f"shown: {file}: parameter 'limit' must be a whole number, not 'x'",
        "shown: parameter 'ratio' must be a valid number, not 'fast'",
        "shown: parameter 'day' must be a date (YYYY-MM-DD), not 'soon'",
    ]


def test_parameters_from_stdin(shown):
    def given(text):
        words = [sys.executable, str(shown), "run", "--params", "-"]
        return subprocess.run(words, input=text, capture_output=True, text=True, timeout=50)

    done = given('{"limit": 7}')
    assert (done.returncode, done.stdout[:12]) == (0, "{'limit': 7,"), done.stderr
    assert "shown: stdin: parameter 'limit' must be" in given('{"limit": "x"}').stderr
    assert "Error: stdin is not JSON" in given("").stderr


def test_the_example_of_a_flows_help_can_be_run(script):
    path = script(
        """
        from datetime import date
        from typing import Literal

        @step
        def told(**params):
            return list(params.values())

        @flow
        def needy(day: date, names: list[str], mode: Literal["fast", "slow"], dry: bool):
            return told()

        if __name__ == "__main__":
            main(needy)
        """
    )
    example = python(path, "run", "--help").stdout.splitlines()[-1]
    command = example.replace("Example: python", sys.executable)
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=50)
    shown = "[datetime.date(2026, 2, 3), ['a', 'b'], 'fast', True]\n"
    assert (done.returncode, done.stdout) == (0, shown), done.stderr


def test_main_of_no_flow_is_one_line(script):
    path = script(
        """
        def plain():
            return 1

        if __name__ == "__main__":
            main(plain)
        """
    )
    done = python(path, "run")
    line = path.read_text().splitlines().index("    main(plain)") + 1
    assert (done.returncode, done.stdout) == (2, "")
    why = "main() takes a flow, a function with @flow above it, not 'plain'"
    assert done.stderr.endswith(f"{path.name}:{line}: {why}\n")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("program", ["script", "lokki"])
def test_an_error_in_the_body_of_a_flow_shows_where(script, journal, program):
    path = script(
        """
        @step
        def one():
            return 1

        def helper():
            return missing

        @flow
        def broken():
            helper()
            return one()

        if __name__ == "__main__":
            main(broken)
        """
    )
    done = python(path, "run") if program == "script" else lokki("run", path)
    assert (done.returncode, done.stdout) == (1, "")
    lines = done.stderr.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    frames = [line.split(", in ") for line in lines if line.startswith("  File ")]
    assert [frame[1] for frame in frames] == ["broken", "helper"]
    assert lines[-2:] == [
        "NameError: name 'missing' is not defined",
        "Error: the body of flow 'broken' failed",
    ]
    assert not journal.exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "limit"),
        (["--limit", "many"], "'many'"),
        (["--limit", "1", "--mode", "medium"], "mode"),
        (["--limit", "1", "--names", "a"], '["'),
        (["--limit", "1", "--colour", "green"], "colour"),
        (["--limt", "1"], "--limit"),
    ],
)
def test_wrong_parameters_are_reported_and_exit_2(shown, options, told, journal):
    for done in (python(shown, "run", *options), lokki("run", shown, *options)):
        assert done.returncode == 2
        assert told in done.stderr
        assert "Traceback" not in done.stderr
    assert not journal.exists()


def test_help_lists_commands_options_types_and_defaults(shown):
    done = python(shown, "--help")
    assert done.returncode == 0
    assert "Show what it is given." in done.stdout
    assert "resume" in done.stdout
    options = python(shown, "run", "--help").stdout
    for part in (
        "--limit INT",
        "--dry",
        "--no-dry",
        "fast|slow",
        "--day YYYY-MM-DD",
        "[default: 0.5]",
        "[default: red]",
        "[default: 2026-01-01]",
        "[default: --no-dry]",
        """[default: '["a"]']""",
        "--params FILE",
        "Example: python",
        "run --limit 5",
    ):
        assert part in options
    assert "None" not in options
    assert "lokki run FILE --help shows the flow" in " ".join(lokki("run", "--help").stdout.split())
    assert "run" in lokki("--help").stdout
    assert lokki("--version").stdout.startswith("lokki ")


def test_the_help_of_a_run_tells_what_the_flow_does(shown):
    for done in (
        python(shown, "run", "--help"),
        lokki("run", shown, "--help"),
        lokki("run", "--help", shown),
    ):
        assert "--limit INT" in done.stdout
        assert "Run shown and print its result.\n\n  Show what it is given.\n" in done.stdout


@pytest.mark.parametrize("program", ["script", "lokki"])
def test_a_resume_traces_the_flow_once(script, tmp_path, program):
    traced = RESUMABLE.replace("return points()", "print('tracing')\n        return points()")
    path = script(traced)
    assert python(path, "run", cwd=tmp_path).returncode == 1
    (tmp_path / "ready").touch()
    words = [path, "resume", "last"] if program == "script" else ["-m", "lokki", "resume", "last"]
    done = python(*words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "6\n"), done.stderr
    assert done.stderr.count("tracing") == 1


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("list", "runs"),
        ("ls", "runs"),
        ("history", "runs"),
        ("status", "show"),
        ("rm", "gc"),
        ("delete", "gc"),
        ("clean", "gc"),
        ("retry", "resume"),
        ("again", "rerun"),
        ("stop", "cancel"),
        ("kill", "cancel"),
        ("start", "run"),
    ],
)
def test_what_other_programs_call_a_command_is_understood(word, meant):
    done = lokki(word, "last")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.search(f"Did you mean .*'{meant}'", done.stderr)


def test_unknown_commands():
    own = python(BIRDS, "fly")
    assert own.returncode == 1
    assert "Usage: " in own.stderr
    general = lokki("rum")
    assert general.returncode == 1
    assert "Usage: " in general.stderr
    assert "Did you mean" in general.stderr
    assert "'run'" in general.stderr


def test_no_command_is_shown_the_usage():
    for done in (python(BIRDS), lokki()):
        assert (done.returncode, done.stdout) == (1, "")
        assert "Usage: " in done.stderr
        assert "Commands:" in done.stderr


def test_the_users_traceback_comes_first_and_then_how_to_resume(script):
    path = script(
        """
        @step
        def broken():
            values = {}
            return values["nothing"]

        @flow
        def breaking():
            return broken()

        if __name__ == "__main__":
            main(breaking)
        """
    )
    done = python(path, "run")
    assert done.returncode == 1
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert lines[1].startswith("[INFO] Step 'broken' started at ")
    assert lines[2] == "Traceback (most recent call last):"
    assert str(path) in lines[3]
    assert re.fullmatch(
        r"\[ERROR\] Step 'broken' failed after \d+\.\d{3}s: KeyError: 'nothing'", lines[-3]
    )
    told = f"Error: the run failed in step 'broken', attempt 1, at {path}:"
    assert re.fullmatch(re.escape(told) + r"\d+", lines[-2])
    assert lines[-1] == f"resume: python {path} resume {run_id(done)}"
    assert "lokki/engine" not in done.stderr


def test_what_steps_print_goes_to_stderr(script):
    path = script(
        """
        @step
        def talking():
            print("to the user")
            return "the result"

        @flow
        def talk():
            return talking()

        if __name__ == "__main__":
            main(talk)
        """
    )
    done = python(path, "run")
    assert done.stdout == "the result\n"
    assert "to the user" in done.stderr


def test_no_result_prints_nothing(script):
    path = script(
        """
        @step
        def silent():
            pass

        @flow
        def nothing():
            return silent()

        if __name__ == "__main__":
            main(nothing)
        """
    )
    assert python(path, "run").stdout == ""


def test_a_pool_that_a_step_forks_and_ends_disturbs_nothing(script):
    path = script(
        """
        import multiprocessing

        @step
        def pooled():
            with multiprocessing.get_context("fork").Pool(2) as pool:
                return pool.map(abs, [-1, 2])

        @flow
        def forking():
            return pooled()

        if __name__ == "__main__":
            main(forking)
        """
    )
    done = python(path, "run")
    assert (done.returncode, done.stdout) == (0, "[1, 2]\n"), done.stderr


def test_a_signal_that_comes_while_a_step_forks_ends_the_child(tmp_path):
    path = tmp_path / "early.py"
    path.write_text(  # what is registered first is done first: before the signals are the child's
        textwrap.dedent(
            """
            import os, signal
            os.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), signal.SIGTERM))
            from lokki import flow, main, step

            @step
            def forks():
                child = os.fork()
                if not child:
                    os._exit(0)
                return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

            @flow
            def forking():
                return forks()

            main(forking)
            """
        )
    )
    done = python(path, "run")
    assert (done.returncode, done.stdout) == (0, f"{-signal.SIGTERM}\n"), done.stderr


def test_a_reader_that_has_seen_enough_is_no_error(script):
    path = script(
        """
        @step
        def long():
            return "x" * 1_000_000

        @flow
        def lengthy():
            return long()

        if __name__ == "__main__":
            main(lengthy)
        """
    )
    command = f"set -o pipefail; {sys.executable} {path} run | head -c 5"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stdout) == (0, "xxxxx"), done.stderr
    assert "Traceback" not in done.stderr


RESUMABLE = """
    import os

    class Point:
        def __init__(self, x):
            self.x = x

    @step
    def points():
        return [Point(n) for n in range(4)]

    @step
    def checked(point):
        assert type(point) is Point
        if point.x == 3 and not os.path.exists("ready"):
            raise RuntimeError("not ready")
        return point

    @step
    def summed(points):
        assert all(type(point) is Point for point in points)
        return sum(point.x for point in points)

    @flow
    def resumable():
        return points().map(checked).agg(summed)

    if __name__ == "__main__":
        main(resumable)
"""


@pytest.mark.parametrize("started", ["script", "lokki"])
@pytest.mark.parametrize("resumed", ["script", "lokki", "lokki with file"])
def test_resume_from_either_command_line(script, tmp_path, started, resumed):
    path = script(RESUMABLE)
    first = (
        python(path, "run", cwd=tmp_path)
        if started == "script"
        else lokki("run", path, cwd=tmp_path)
    )
    assert first.returncode == 1
    assert "RuntimeError: not ready" in first.stderr
    first_id = run_id(first)
    (tmp_path / "ready").touch()
    done = {
        "script": lambda: python(path, "resume", "last", cwd=tmp_path),
        "lokki": lambda: lokki("resume", first_id, cwd=tmp_path),
        "lokki with file": lambda: lokki("resume", first_id[:18], path, cwd=tmp_path),
    }[resumed]()
    assert (done.returncode, done.stdout) == (0, "6\n"), done.stderr
    again = lokki("resume", first_id, cwd=tmp_path)
    assert (again.returncode, again.stdout) == (0, "6\n")


def test_last_is_the_run_before_the_file_is_loaded(script, tmp_path, journal):
    other = "import subprocess, sys; subprocess.run([sys.executable, __file__, 'run'], stdout=2)"
    path = script(f"{RESUMABLE}\n    else:\n        {other}\n")
    assert python(path, "run", cwd=tmp_path).returncode == 1
    (tmp_path / "ready").touch()
    done = lokki("resume", "last", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "6\n"), done.stderr
    with closing(sqlite3.connect(journal)) as connection:
        rows = connection.execute("SELECT status FROM runs").fetchall()
    assert rows == [("succeeded",), ("succeeded",)]


def test_resume_tells_what_it_cannot_find(script, tmp_path):
    path = script(RESUMABLE)
    assert "no runs of resumable yet in" in python(path, "resume", "last").stderr
    assert python(path, "run", cwd=tmp_path).returncode == 1
    missing = lokki("resume", "nosuch", path)
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "no run 'nosuch'" in missing.stderr
    path.unlink()
    gone = lokki("resume", "last")
    assert gone.returncode == 2
    assert "is gone; name the file of its flow" in gone.stderr


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("import nonexistent_module", "No module named 'nonexistent_module'"),
        ("raise SystemExit(3)", "exits on import"),
        ("x = 1", "has no flow; decorate one with @flow"),
        (
            "@flow\ndef one(): return step(print)()\n@flow\ndef two(): return step(print)()",
            "the flows one, two; say which",
        ),
        ("@step(job_type='spark')\ndef a(): pass", "job_type must be"),
    ],
)
def test_files_that_hold_no_runnable_flow(script, body, told):
    done = lokki("run", script(body))
    assert done.returncode in (1, 2)
    assert told in done.stderr
    assert "lokki/cli" not in done.stderr
    assert "lokki/loading" not in done.stderr


@pytest.mark.parametrize("target", ["nofile.py", "nomodule", "birds.py:nosuch"])
def test_targets_that_do_not_exist(target):
    done = lokki("run", target, cwd=BIRDS.parent)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_flow_that_cannot_work_is_reported_without_a_traceback(script):
    path = script(
        """
        @flow
        def empty():
            return None

        if __name__ == "__main__":
            main(empty)
        """
    )
    done = python(path, "run")
    assert done.returncode == 2
    assert "return the chain" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_file_comes_before_its_options(script):
    done = lokki("run", "--bogus", script(RESUMABLE))
    assert (done.returncode, done.stdout) == (2, "")
    assert "the file comes first: lokki run FILE --bogus" in done.stderr


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["config"], ["run", BIRDS]])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_is_reported_in_one_line(arguments, unbuffered, monkeypatch):
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    command = [sys.executable, "-m", "lokki", *map(str, arguments)]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=50)
    told = [line for line in done.stderr.splitlines() if not line.startswith("[")]
    assert done.returncode == 1
    assert len(told) == 1, done.stderr
    assert told[0].startswith("Error: ")
    assert "No space left on device" in told[0]


@pytest.mark.parametrize(
    "arguments", [["runs", "--n"], ["logs", "--item"], ["logs", "--attempt"], ["gc", "--keep"]]
)
def test_a_number_that_is_too_large_is_wrong_usage(arguments):
    done = lokki(*arguments, 2**63)
    assert (done.returncode, done.stdout) == (2, "")
    assert "is too large" in done.stderr


def test_a_parameter_may_be_called_params_file(script):
    path = script(
        """
        @step
        def told(params_file):
            return params_file

        @flow
        def named(params_file: str):
            return told()

        if __name__ == "__main__":
            main(named)
        """
    )
    done = python(path, "run", "--params-file", "x")
    assert (done.returncode, done.stdout) == (0, "x\n"), done.stderr


def test_a_run_that_goes_on_is_not_resumed(script, tmp_path):
    path = script(
        """
        import os, time

        @step
        def waits():
            open("begun", "w").close()
            while not os.path.exists("ready"):
                time.sleep(0.01)

        @flow
        def waiting():
            return waits()

        if __name__ == "__main__":
            main(waiting)
        """
    )
    command = [sys.executable, str(path), "run"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE) as running:
        while not (tmp_path / "begun").exists():
            time.sleep(0.01)
        refused = python(path, "resume", "last", cwd=tmp_path)
        (tmp_path / "ready").touch()
        running.communicate(timeout=50)
    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    assert f"is being run by process {running.pid} on" in line
