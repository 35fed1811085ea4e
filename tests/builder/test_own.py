"""How lokki itself gets into a flow's package, of each way in which it can be installed."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import lokki
from lokki.builder.uv import uv

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """An environment of its own."""
    folder = tmp_path_factory.mktemp("environment")
    uv("venv", "--quiet", "--python", sys.executable, str(folder))
    return str(folder / "bin" / "python")


@pytest.fixture
def wheel(tmp_path):
    uv("build", "--quiet", "--wheel", "--out-dir", str(tmp_path / "dist"), str(ROOT))
    (made,) = (tmp_path / "dist").glob("*.whl")
    return made


def built(python: str, folder: Path) -> tuple[str, Path]:
    """The first requirement of a build, and the folder that it was built into."""
    (folder / "birds.py").write_text((ROOT / "examples" / "birds.py").read_text())
    done = subprocess.run(
        [python, "-m", "lokki", "build", "birds.py"],
        cwd=folder,
        env=os.environ | {"LOKKI_LAMBDA_PACKAGE_TYPE": "image"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lambdas = folder / "lokki-build" / "lambdas"
    return (lambdas / "requirements.txt").read_text().splitlines()[0], lambdas


def test_what_was_installed_from_a_file_is_packaged_when_the_file_is_gone(python, wheel, tmp_path):
    uv(
        "pip",
        "install",
        "--quiet",
        "--python",
        python,
        "--reinstall-package",
        "lokki-engine",
        str(wheel),
    )
    with zipfile.ZipFile(wheel) as archive:
        published = {name: archive.read(name) for name in archive.namelist()}
    wheel.unlink()
    requirement, lambdas = built(python, tmp_path)
    assert requirement == f"lokki-engine[aws] @ ./wheels/{wheel.name}"
    with zipfile.ZipFile(lambdas / "wheels" / wheel.name) as archive:
        packed = {name: archive.read(name) for name in archive.namelist()}
    assert packed.keys() == published.keys()
    (record,) = (name for name in packed if name.endswith("/RECORD"))
    assert sorted(packed.pop(record).split()) == sorted(published.pop(record).split())
    assert packed == published


def test_a_release_is_asked_for_by_its_version(python, wheel, tmp_path):
    uv(
        "pip", "install", "--quiet", "--python", python, "--reinstall-package", "lokki-engine",
        "--find-links", str(wheel.parent), "lokki-engine",
    )  # fmt: skip
    requirement, lambdas = built(python, tmp_path)
    assert requirement == f"lokki-engine[aws]=={lokki.__version__}"
    assert not (lambdas / "wheels").exists()
