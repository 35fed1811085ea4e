"""Use the lokki that is installed here, as its users do: birds, ``build``, ``serve``.

Called by ``.ci/packages`` with the extra that is installed, in an empty folder. What needs another
extra must say so.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from threading import Thread
from time import monotonic, sleep

import lokki
from lokki.cli.main import entry_point

RESULT = "flappy goose, flappy duck, flappy seagul"
LOKKI = str(Path(sys.executable).with_name("lokki"))


def done(*command: str, code: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
    """A command, which must end with this code."""
    ended = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | variables,
    )
    assert ended.returncode == code, f"{command}: {ended.returncode}\n{ended.stdout}{ended.stderr}"
    return ended


def told_by(*words: str, code: int, **variables: str) -> str:
    """What a command of lokki reports, which must end with this code.

    It is a fork of this process, which has imported what all commands do.
    """
    with tempfile.TemporaryFile("w+") as told:
        child = os.fork()
        if not child:
            os.environ |= variables
            os.dup2(os.open(os.devnull, os.O_RDWR), 1)
            os.dup2(told.fileno(), 2)
            sys.argv = [LOKKI, *words]
            try:
                entry_point()
            except SystemExit as ended:
                os._exit(ended.code if isinstance(ended.code, int) else 1)
            except BaseException:
                traceback.print_exc()
                os._exit(70)
            os._exit(0)
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        told.seek(0)
        text = told.read()
    assert ended == code, f"{words}: {ended}\n{text}"
    return text


def refused(extra: str, *command: str, **variables: str) -> None:
    """A command that needs this extra must say how to install it, without a traceback."""
    told = told_by(*command, code=1, **variables)
    assert told.endswith(f"pip install 'lokki-engine[{extra}]'\n"), told
    assert "Traceback" not in told, told


def exported() -> set[str]:
    """Where a run sends traces and metrics, if the variable of OpenTelemetry names this process."""
    paths = set()

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            paths.add(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Nothing on stderr."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as collector:
        Thread(target=collector.serve_forever, args=(0.05,)).start()
        endpoint = f"http://127.0.0.1:{collector.server_port}"
        ran = done(LOKKI, "run", "birds.py", OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)
        collector.shutdown()
    assert ran.stdout == f"{RESULT}\n", ran.stdout
    return paths


def served() -> None:
    """A run over HTTP, and the dashboard."""
    command = (LOKKI, "serve", "birds.py", "--port", "0")
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        try:
            found = (re.search(r"lokki serves (http\S+)", line) for line in server.stderr)
            url = next(match[1] for match in found if match)
            client = lokki.Client(url)
            deadline = monotonic() + 60
            while not client.flows():  # its file is being imported
                assert monotonic() < deadline, "no flows"
                sleep(0.05)
            assert client.start("birds-flow").result(timeout=60) == RESULT
            assert b"<script" in client.send("GET", "/")
        finally:
            server.terminate()
    assert server.returncode == 0, server.returncode


def main(extra: str) -> None:
    began = monotonic()
    package = Path(lokki.__file__)
    assert package.is_relative_to(sys.prefix), f"not what is installed here: {package}"
    shutil.copy(Path(__file__).with_name("birds.py"), ".")
    assert done(LOKKI, "--version").stdout == f"lokki {lokki.__version__}\n"
    assert done(sys.executable, "birds.py", "run").stdout == f"{RESULT}\n"
    done(LOKKI, "build", "birds.py")  # of an image: what a ZIP would install, tests do
    assert "lokki-engine[aws]" in Path("lokki-build/lambdas/requirements.txt").read_text()
    if extra == "server":
        served()
    else:
        refused("server", "serve", "birds.py")
    on_postgres = {"LOKKI_LOCAL_JOURNAL": "postgresql://127.0.0.1:1/none"}
    if extra == "postgres":
        told = told_by("runs", code=1, **on_postgres)
        assert "check that the server runs" in told, told
    else:
        refused("postgres", "runs", **on_postgres)
    on_dask = ("run", "birds.py", "--on", "dask=tcp://127.0.0.1:1")
    if extra == "dask":
        told = told_by(*on_dask, code=1, LOKKI_LOCAL_RECONNECT="1")
        assert "Traceback" not in told, told
        assert "tcp://127.0.0.1:1" in told, told
    else:
        refused("dask", *on_dask)
    if extra == "rehearse":
        import_module("lokki.rehearse.rehearsal")
    else:
        refused("rehearse", "rehearse", "birds.py")
    if extra in ("aws", "rehearse"):
        told = told_by("deploy", "birds.py", "--confirm", code=2)
        assert "aws.artifact_bucket" in told, told
    else:
        refused("aws", "deploy", "birds.py", "--confirm")
    assert exported() == ({"/v1/traces", "/v1/metrics"} if extra == "otel" else set())
    print(f"works, seen in {monotonic() - began:.1f} s")


main(sys.argv[1])
