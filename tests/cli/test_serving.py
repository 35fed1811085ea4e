"""``lokki serve`` where what it needs is not installed, and all else, which must not need it."""

from __future__ import annotations

import subprocess
import sys

import pytest


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )


def test_the_command_line_loads_nothing_of_the_service():
    done = python(
        "import sys, lokki.cli.main\n"
        "print(*{name.partition('.')[0] for name in sys.modules}"
        " & {'lokki_server', 'fastapi', 'starlette', 'uvicorn'})"
    )
    assert (done.stdout, done.stderr) == ("\n", "")


@pytest.mark.parametrize("package", ["fastapi", "limits", "prometheus_client", "uvicorn"])
def test_a_package_that_is_missing_is_reported(package):
    done = python(
        f"import sys\nsys.modules['{package}'] = None\nsys.argv[0] = 'lokki'\n"
        "from lokki.cli.main import entry_point\nentry_point()",
        "serve",
    )
    assert done.returncode == 1
    assert (
        f"needs the package '{package}': uv add 'lokki-engine[server]', or pip install"
        in done.stderr
    )
    assert "Traceback" not in done.stderr
