"""The docs say what is: their code blocks do what they show, and they tell every command and name.

A ``python`` block that begins with ``# name.py`` is written to that file, any other is run. The
commands of a ``console`` block are run beside those files, and print what the block shows, on
stdout or in all; ``…`` stands for anything, alone for any lines.
"""

from __future__ import annotations

import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import forking
import pytest

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
LOKKI = Path(sys.executable).with_name("lokki")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def account(request, monkeypatch, tmp_path):
    """Has the commands of a page that is about AWS find one."""

    def have():
        endpoint = request.getfixturevalue("rehearsal").endpoint
        request.getfixturevalue("dependencies").into(tmp_path / "lokki-build")
        for name, value in {
            "LOKKI_AWS_ENDPOINT": endpoint,
            "LOKKI_AWS_REGION": "us-east-1",
            "LOKKI_ARTIFACT_BUCKET": "documented",
            "LOKKI_LAMBDA_PACKAGE_TYPE": "zip",
        }.items():
            monkeypatch.setenv(name, value)

    return have


@pytest.mark.timeout(180)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_blocks(page, tmp_path, account):
    if page.name == "aws.md":
        account()
    for language, text in BLOCK.findall(page.read_text()):
        if language == "python":
            named = re.match(r"# ([\w/]+\.py)\n", text)
            file = tmp_path / (named[1] if named else "block.py")
            file.write_text(text)
            if named is None:
                done = _program(tmp_path, file)
                assert done.returncode == 0, done.stderr
        elif language == "console":
            for command, shown in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE):
                done = _typed(command, tmp_path)
                _check(command, shown, done.stdout or done.stderr, done.stderr + done.stdout)


def _check(command: str, shown: str, *printed: str) -> None:
    """Columns are as wide as what is in them, such as how long a run took here."""
    lines = shown.splitlines(keepends=True)
    pattern = "".join(
        "(?s:.*)" if line == "…\n" else re.escape(line).replace("…", ".*") for line in lines
    )
    pattern = re.sub(r"(\\ ){2,}", " {2,}", pattern)
    assert any(re.fullmatch(pattern, text) for text in printed), (
        f"$ {command}\n{printed[-1]}\n--- is not ---\n{shown}"
    )


@pytest.mark.parametrize(
    "page",
    [*PAGES, *sorted(ROOT.glob("examples/**/README.md"))],
    ids=lambda page: page.relative_to(ROOT).as_posix(),
)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            assert anchor in map(_anchor, headings), target


def _anchor(heading: str) -> str:
    """What GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


OF_A_FLOW = ("run", "build", "rehearse", "plan", "deploy", "invoke", "destroy")


def test_every_command_and_option_is_documented(tmp_path):
    page = (ROOT / "docs" / "cli.md").read_text()
    documented = {
        title: set(re.findall(r"`(--?[\w-]+)", "".join(re.findall(r"^\| (`-.*?) \| ", text, re.M))))
        for title, text in re.findall(r"^## (lokki.*)\n((?:(?!## ).*\n)*)", page, re.MULTILINE)
    }
    told = {"lokki": _options(tmp_path)}
    for command in _commands(tmp_path):
        target = [str(ROOT / "examples" / "birds.py")] if command in OF_A_FLOW else []
        told[f"lokki {command}"] = _options(tmp_path, command, *target)
    assert documented == told


def test_a_flows_own_program_has_the_same_commands_but_those_over_files(tmp_path):
    own = _program(tmp_path, ROOT / "examples" / "birds.py", "--help")
    over_files = {"init", "serve", "doctor", "flows", "schedules", "journal", "completion"}
    assert {*_listed(own.stdout), *over_files} == set(_commands(tmp_path))


def _commands(folder: Path) -> list[str]:
    return _listed(_help(folder))


def _listed(told: str) -> list[str]:
    listed = told.partition("Commands:\n")[2].partition("\n\n")[0]
    return re.findall(r"^  (\w+)", listed, re.MULTILINE)


def _options(folder: Path, *command: str) -> set[str]:
    """The options of a command, as its help tells them, but for the help itself."""
    options = _help(folder, *command).partition("Options:\n")[2].partition("Commands:\n")[0]
    named = re.findall(r"^  (-.*?)(?:  |$)", options, re.MULTILINE)
    return set(re.findall(r"(?<![\w-])--?[\w-]+", " ".join(named))) - {"-h", "--help"}


def _help(folder: Path, *command: str) -> str:
    own = {"HOME": str(folder), "COLUMNS": "200"}
    done = forking.done(["-m", "lokki", *command, "--help"], cwd=folder, env=os.environ | own)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_reference_is_what_the_docstrings_say():
    made = runpy.run_path(str(ROOT / "docs" / "make_api.py"))["page"]()
    assert (ROOT / "docs" / "api.md").read_text() == made, "run: python docs/make_api.py"


def _typed(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """What a shell makes of a command; a program of lokki needs none if it is given just words."""
    if not re.search(r"[|&;<>$*?`()~#]", command):
        words, variables = shlex.split(command), dict[str, str]()
        while "=" in words[0]:
            name, _, variables[name] = words.pop(0).partition("=")
        match words:
            case ["lokki", *given]:
                return _program(folder, LOKKI, *given, **variables)
            case ["python", file, *given] if file.endswith(".py"):
                return _program(folder, file, *given, **variables)
    return subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=_environment(folder),
    )


def _program(
    folder: Path, file: str | Path, *words: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    environment = _environment(folder) | variables
    return forking.done([str(file), *words], forking.AWS, cwd=folder, env=environment)


def _environment(folder: Path) -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return os.environ | {
        "PATH": path,
        "HOME": str(folder),
        "COLUMNS": "200",
        "PYTEST_DEBUG_TEMPROOT": str(folder),  # a pytest that runs here removes no others' folders
    }
