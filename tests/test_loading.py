"""Which flow a command line names, however it names it, and what is said when there is none."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import forking
import pytest

SCRIPT = Path(sys.executable).with_name("lokki")
BIRDS = Path(__file__).parents[1] / "examples" / "birds.py"
FLAPPED = "flappy goose, flappy duck, flappy seagul\n"


def lokki(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The console script, which does not have the working directory on its path."""
    return forking.done([*map(str, (SCRIPT, *arguments))], cwd=cwd)


def python(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A new interpreter."""
    command = [*map(str, (sys.executable, *arguments))]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=50, cwd=cwd)


@pytest.fixture
def write(tmp_path):
    """Write a file, in folders of its own, and return its path."""

    def write(name: str, body: str = "") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(body))
        return path

    return write


@pytest.fixture
def elsewhere(tmp_path):
    path = tmp_path / "elsewhere"
    path.mkdir()
    return path


IMPORTS = """
    from lokki import flow, main, step
"""

FAILS_UNTIL_READY = """
    import os
    from pathlib import Path

    class Point:
        def __init__(self, x):
            self.x = x

    READY = Path(os.environ["READY"])

    @step
    def points():
        return [Point(n) for n in range(4)]

    @step(executor="process")
    def checked(point):
        assert type(point) is Point
        if point.x == 3 and not READY.exists():
            raise RuntimeError("not ready")
        return point

    @step
    def summed(points):
        assert all(type(point) is Point for point in points)
        return total(point.x for point in points)

    @flow
    def resumable():
        return points().map(checked).agg(summed)

    if __name__ == "__main__":
        main(resumable)
"""


@pytest.fixture
def ready(tmp_path, monkeypatch):
    """The file without which ``checked`` fails."""
    path = tmp_path / "ready"
    monkeypatch.setenv("READY", str(path))
    return path


@pytest.fixture
def package(write, tmp_path):
    """A folder with the package inner.pkg, whose flows.py has a relative import."""
    for name in ("outer/inner/__init__.py", "outer/inner/pkg/__init__.py"):
        write(name)
    write("outer/inner/pkg/steps.py", "total = sum")
    flows = "    from .steps import total\n" + FAILS_UNTIL_READY
    write("outer/inner/pkg/flows.py", IMPORTS + flows)
    return tmp_path / "outer"


STARTS = {
    "module": lambda folder, *command: python(SCRIPT, *command, "inner.pkg.flows", cwd=folder),
    "file": lambda folder, *command: python(SCRIPT, *command, "inner/pkg/flows.py", cwd=folder),
    "inside": lambda folder, *command: python(SCRIPT, *command, "flows", cwd=folder / "inner/pkg"),
    "python -m": lambda folder, *command: python("-m", "inner.pkg.flows", *command, cwd=folder),
}


@pytest.mark.parametrize(
    ("started", "resumed"),
    [(way, "last") for way in STARTS]
    + [("module", way) for way in STARTS]
    + [("python -m", "file")],
)
def test_a_packages_flow_is_the_same_however_it_is_started(
    package, ready, elsewhere, started, resumed
):
    first = STARTS[started](package, "run")
    assert first.returncode == 1
    assert "RuntimeError: not ready" in first.stderr
    ready.touch()
    if resumed == "last":
        done = lokki("resume", "last", cwd=elsewhere)
    else:
        done = STARTS[resumed](package, "resume", "last")
    assert (done.returncode, done.stdout) == (0, "6\n"), done.stderr


def test_a_script_in_a_package_reads_what_lokki_stored(write, package, ready):
    flows = "    total = sum\n" + FAILS_UNTIL_READY
    path = write("outer/inner/pkg/plain.py", IMPORTS + flows)
    assert lokki("run", path, cwd=package).returncode == 1
    ready.touch()
    done = python(path, "resume", "last", cwd=package)
    assert (done.returncode, done.stdout) == (0, "6\n"), done.stderr


def test_a_file_in_a_package_finds_its_siblings_as_python_does(write, tmp_path):
    write("pkg/__init__.py")
    write("pkg/json.py", "not_for_others = True")
    write("pkg/birds.py", BIRDS.read_text())
    path = write("pkg/flows.py", "from birds import birds_flow\nfrom json import loads\n")
    done = lokki("run", path, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, FLAPPED), done.stderr


@pytest.mark.parametrize("target", ["pkg", "pkg/__init__.py", "pkg.flows", "pkg/flows.py"])
def test_a_package_that_imports_its_flow_runs_it_and_resumes(write, tmp_path, elsewhere, target):
    write("pkg/__init__.py", "from .flows import birds_flow")
    write("pkg/flows.py", BIRDS.read_text())
    assert lokki("run", target, cwd=tmp_path).stdout == FLAPPED
    assert lokki("resume", "last", cwd=elsewhere).stdout == FLAPPED


def test_relative_imports_outside_of_packages_are_refused_with_what_lacks(write, tmp_path):
    path = write("loose/flows.py", "from .steps import total")
    done = lokki("run", path, cwd=tmp_path)
    assert done.returncode == 1
    assert "put an __init__.py beside it" in done.stderr


def test_a_moved_file_reads_what_it_stored(write, tmp_path, ready):
    path = write("old/former.py", IMPORTS + "    total = sum\n" + FAILS_UNTIL_READY)
    assert lokki("run", path, cwd=tmp_path).returncode == 1
    ready.touch()
    moved = path.rename(tmp_path / "latter.py")
    gone = lokki("resume", "last", cwd=tmp_path)
    assert gone.returncode == 2
    assert f"({path}) is gone; name the file of its flow: lokki resume " in gone.stderr
    done = lokki("resume", "last", moved, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "6\n"), done.stderr


def test_a_flow_is_found_again_whatever_its_function_is_called(write, tmp_path):
    path = write(
        "mine.py",
        """
        import functools
        from lokki import flow, step
        from quiet import quietly

        @step
        def one():
            return 1

        @quietly
        def _hidden():
            return one()

        known = flow(_hidden)
        """,
    )
    write(
        "quiet.py",
        """
        import functools

        def quietly(function):
            return functools.wraps(function)(lambda: function())
        """,
    )
    assert lokki("run", f"{path}:known", cwd=tmp_path).stdout == "1\n"
    done = lokki("resume", "last", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


def test_a_run_that_no_file_started_asks_for_one(write, tmp_path):
    birds = BIRDS.read_text().partition("if __name__")[0]
    assert python("-c", birds + "birds_flow.run_sync()", cwd=tmp_path).returncode == 0
    done = lokki("resume", "last", cwd=tmp_path)
    assert done.returncode == 2
    assert "was not started from a file; name the file of its flow" in done.stderr
    assert lokki("resume", "last", BIRDS, cwd=tmp_path).stdout == FLAPPED


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("nope", "no module 'nope' here, nor a file nope.py"),
        ("nope:flow", "no module 'nope' here"),
        ("nope.sub", "no module 'nope.sub' here, nor a file nope/sub.py"),
        ("birds.nope", "no module 'birds.nope' here"),
        ("nothere.py", "no file nothere.py"),
        ("nothere.py:flow", "no file nothere.py"),
        ("elsewhere/", "elsewhere/ is a folder; name a file in it, such as elsewhere/flows.py"),
        ("elsewhere", "elsewhere is a folder"),
        (".", ". is a folder; name a file in it, such as flows.py"),
        (".py", "no file .py"),
        ("a..b", "no module 'a..b'"),
        ("", "name a file or a module"),
        (":flow", "name a file or a module"),
    ],
)
def test_a_target_that_is_none_is_reported_in_one_line(write, tmp_path, elsewhere, target, told):
    write("birds.py", BIRDS.read_text())
    done = lokki("run", target, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("target", ["birds", "pkg.birds"])
def test_a_module_that_lacks_something_shows_where(write, tmp_path, target):
    write("pkg/__init__.py")
    path = write(f"{target.replace('.', '/')}.py", "import birds.nope")
    done = lokki("run", target, cwd=tmp_path)
    assert done.returncode == 1
    assert f'File "{path}", line 1' in done.stderr
    assert done.stderr.endswith(f"Error: {target} cannot be imported\n")


@pytest.mark.parametrize("flow", ["", ":", ":birds_flow", ":birds-flow"])
def test_a_path_may_have_a_colon(write, tmp_path, flow):
    write("a:b/birds.py", BIRDS.read_text())
    done = lokki("run", f"a:b/birds.py{flow}", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, FLAPPED), done.stderr
    assert lokki("resume", "last", cwd=tmp_path).stdout == FLAPPED


def test_a_file_needs_no_suffix(write, tmp_path):
    write("birds", BIRDS.read_text())
    assert python("birds", "run", cwd=tmp_path).stdout == FLAPPED
    done = lokki("resume", "last", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, FLAPPED), done.stderr


@pytest.mark.parametrize("name", ["json", "random", "click", "lokki"])
@pytest.mark.parametrize("suffix", [".py", ""])
def test_a_file_with_the_name_of_another_module_is_refused(write, tmp_path, name, suffix):
    path = write(f"{name}.py", "raise RuntimeError('imported')")
    done = lokki("run", name + suffix, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"Error: {path} has the name of the module '{name}', which Python or lokki uses; "
        "rename it\n"
    )


def test_names_of_other_modules_are_free_within_a_package(write, tmp_path):
    write("pkg/__init__.py")
    path = write("pkg/json.py", BIRDS.read_text())
    assert lokki("run", path, cwd=tmp_path).stdout == FLAPPED
    assert lokki("resume", "last", cwd=tmp_path).stdout == FLAPPED


UNGUARDED = BIRDS.read_text().partition("if __name__")[0] + "main(birds_flow)\n"


@pytest.mark.parametrize("command", ["run", "resume"])
def test_an_unguarded_main_is_reported(write, tmp_path, journal, command):
    path = write("birds.py", UNGUARDED)
    assert python(path, "run", cwd=tmp_path).stdout == FLAPPED
    done = lokki(command, *(["last"] if command == "resume" else [path]), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert f'File "{path}", line' in done.stderr
    assert done.stderr.endswith(
        f'Error: {path} runs a flow on import; guard its main code: if __name__ == "__main__": …\n'
    )


def test_a_name_that_is_no_flow_is_reported_with_the_flow_there_is(write, tmp_path):
    path = write("birds.py", BIRDS.read_text())
    done = lokki("run", f"{path}:bird", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.endswith(f"{path} has no flow 'bird'; it has the flow birds_flow\n")


def test_a_file_that_exits_shows_where(write, tmp_path):
    path = write("mine.py", "import sys\nsys.exit('no token')\n")
    done = lokki("run", path, cwd=tmp_path)
    assert done.returncode == 1
    assert f'File "{path}", line 2' in done.stderr
    assert "SystemExit: no token" in done.stderr
    assert f"Error: {path} exits on import; guard its main code" in done.stderr


# ---- all flows of a file -------------------------------------------------------------------------

TWO = """
from lokki import flow, step
from birds_of_others import other

@step
def give():
    return 1

@flow
def one():
    return give()

@flow
def two_birds():
    return give()

again = one
"""


def flows(write, tmp_path, place, body=TWO):
    """What `load_flows` gives in a process of its own, which imports the file."""
    write("birds_of_others.py", TWO.replace("from birds_of_others import other", "other = 1"))
    write("birds.py", body)
    done = python(
        "-c",
        "import sys; from lokki.loading import LoadError, load_flows\n"
        "try: print(*load_flows(sys.argv[1]))\n"
        "except LoadError as error: print(type(error).__name__, error, error.traceback)",
        place,
        cwd=tmp_path,
    )
    assert done.stderr == ""
    return done.stdout.strip()


@pytest.mark.parametrize("place", ["birds.py", "birds", "./birds.py"])
def test_all_flows_that_a_file_defines(write, tmp_path, place):
    assert flows(write, tmp_path, place) == "one two-birds"


def test_flows_that_a_file_has_imported_are_not_its_own(write, tmp_path):
    assert flows(write, tmp_path, "birds.py", "from birds_of_others import one, two_birds") == ""


@pytest.mark.parametrize(
    ("place", "body", "told"),
    [
        ("nosuch.py", "", "NotThere there is no file nosuch.py"),
        ("bird.py", "", "NotThere there is no file bird.py; did you mean birds.py?"),
        ("nosuch", "", "NotThere there is no module 'nosuch'"),
        ("birds.py", "1 / 0", "LoadError birds.py cannot be imported Traceback"),
        ("birds.py", "exit()", "LoadError birds.py exits on import"),
    ],
)
def test_a_file_without_flows_is_reported(write, tmp_path, place, body, told):
    assert flows(write, tmp_path, place, body).startswith(told)
