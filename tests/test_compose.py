"""docker-compose.yml, as far as it goes without a container engine: its schema, and its commands.

What its image installs is installed, and what its services and its users run is run, from that.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml

from lokki.config import load

ROOT = Path(__file__).parents[1]
FILE = ROOT / "docker-compose.yml"
COMPOSE = yaml.safe_load(FILE.read_text())
USERS = re.findall(r"^#   docker compose exec lokki (.*)$", FILE.read_text(), re.MULTILINE)
UV = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize(
    ("schema", "file"),
    [
        ("vendor.compose-spec", "docker-compose.yml"),
        ("vendor.github-workflows", ".github/workflows/ci.yml"),
        ("vendor.github-workflows", ".github/workflows/aws.yml"),
        ("vendor.github-workflows", ".github/workflows/rehearse.yml"),
    ],
)
def test_it_is_as_its_schema_says(schema, file):
    command = Path(sys.executable).with_name("check-jsonschema")
    done = subprocess.run(
        [command, "--builtin-schema", schema, ROOT / file], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """What the image installs, from a copy of what it copies."""
    place = tmp_path_factory.mktemp("image")
    dockerfile = COMPOSE["services"]["aws"]["build"]["dockerfile_inline"]
    for line in re.findall(r"^COPY (.*)$", dockerfile, re.MULTILINE):
        *sources, target = line.split()
        for source in sources:
            into = place / (source if target == "./" else target)
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, into, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copyfile(ROOT / source, into)
    (command,) = re.findall(r"^RUN (uv sync .*)$", dockerfile, re.MULTILINE)
    asked = [each for each in shlex.split(command)[1:] if each != "--no-cache"]
    environment = os.environ | {"UV_PROJECT_ENVIRONMENT": str(place / "venv")}
    asked += ["-q", "--python", sys.executable]
    subprocess.run([UV, *asked], cwd=place, env=environment, check=True)
    _compile(place / "venv")
    return place


def _compile(environment):
    """Give an environment what is compiled in this one; what differs is compiled when imported."""
    own = Path(sysconfig.get_path("purelib"))
    theirs = environment / own.relative_to(sys.prefix)
    for compiled in own.rglob("__pycache__"):
        package = theirs / compiled.relative_to(own).parent
        if package.is_dir():
            shutil.copytree(compiled, package / compiled.name, dirs_exist_ok=True)


def of(service):
    """A service's command and variables, for ports that are free."""
    told = COMPOSE["services"][service]
    port = str(told["ports"][0].rpartition(":")[2])
    command = ["0" if each == port else each for each in told["command"]]
    return ["127.0.0.1" if each == "0.0.0.0" else each for each in command], told.get(
        "environment", {}
    )


def start(installed, command, environment, ready):
    """A command of the image, and the URL that it tells it is at."""
    inside = {"PATH": f"{installed / 'venv' / 'bin'}:{Path(UV).parent}:{os.environ['PATH']}"}
    process = subprocess.Popen(
        [installed / "venv" / "bin" / command[0], *command[1:]],
        cwd=installed, env=os.environ | environment | inside, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    for line in process.stderr:
        if found := re.search(ready, line):
            return process, found[1]
    raise AssertionError(f"{command} has ended with {process.wait()}")


def test_its_services_and_the_commands_it_tells_of_do_what_it_says(installed, tmp_path):
    aws, endpoint = start(installed, *of("aws"), r"development: (http\S+)")
    served = None
    try:
        command, environment = of("lokki")
        environment = environment | {
            "LOKKI_AWS_ENDPOINT": endpoint,
            "LOKKI_LOCAL_JOURNAL": str(tmp_path / "lokki.db"),
            "LOKKI_SERVER_TOKEN": "development",
        }
        served, url = start(installed, command, environment, r"lokki serves (http\S+)")
        assert url.startswith("http://127.0.0.1:")
        outputs = []
        for line in USERS:
            program, *words = line.split()
            done = subprocess.run(
                [installed / "venv" / "bin" / program, *words],
                cwd=installed,
                env=os.environ | environment | {"PATH": f"{Path(UV).parent}:{os.environ['PATH']}"},
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stderr
            outputs.append(done.stdout)
        assert outputs[0].startswith("birds-flow is deployed: arn:aws:states:us-east-1:")
        assert outputs[1] == "flappy goose, flappy duck, flappy seagul\n"
        _, *check = COMPOSE["services"]["lokki"]["healthcheck"]["test"]
        check = [each.replace("http://127.0.0.1:8765", url) for each in check]
        inside = os.environ | {"LOKKI_SERVER_TOKEN": "development"}
        assert subprocess.run([sys.executable, *check[1:]], env=inside, timeout=40).returncode == 0
    finally:
        for process in (served, aws):
            if process is not None:
                with process:
                    process.terminate()


def test_its_services_run_as_a_user_who_may_write_what_they_do():
    dockerfile = COMPOSE["services"]["lokki"]["build"]["dockerfile_inline"]
    *_, last = re.findall(r"^[A-Z]+ .*$", dockerfile, re.MULTILINE)
    user = last.removeprefix("USER ")
    made_for = rf"^RUN useradd .*{user} && install -d --owner={user} (.*)$"
    (made,) = re.findall(made_for, dockerfile, re.MULTILINE)
    journal = COMPOSE["services"]["lokki"]["environment"]["LOKKI_LOCAL_JOURNAL"]
    assert {str(Path(journal).parent), load().build_dir} == set(made.split())


def test_a_port_that_is_taken_is_reported(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "lokki.rehearse", "--port", port],
            cwd=tmp_path, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    assert (done.returncode, "Address already in use" in done.stderr) == (1, True)


def test_a_wrong_image_is_reported(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "lokki.rehearse", "--port", "0", "--image", "lokki:latest=nowhere"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == (
        'Error: nowhere has no image: build with lambda.package_type = "image"\n'
    )
