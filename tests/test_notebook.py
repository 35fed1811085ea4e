"""Flows in a notebook: a real kernel, and what its cells show."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field

import pytest
from jupyter_client.manager import KernelManager

CELLS = """
import asyncio, time, lokki
from lokki import flow, step

@step
def numbers(count):
    return list(range(count))

@step
def crunch(number):
    if number == 3:
        raise ValueError("odd")
    return number

@step
async def slow(number):
    print("began", flush=True)
    await asyncio.sleep(60)

@flow
def crunching(count: int = 3):
    return numbers(count).map(crunch)

@flow
def slowly():
    return numbers(1).map(slow)

@step(executor="process")
def tell():
    print("from a worker")

@flow
def telling():
    return tell()
"""
FIXED = """
@step
def crunch(number):
    return number

@flow
def crunching(count: int = 3):
    return numbers(count).map(crunch)
"""


@dataclass
class Shown:
    """What a cell shows: its displays as HTML by their ids, its value, and its error."""

    displays: dict[str, str] = field(default_factory=dict)
    printed: str = ""
    value: str | None = None
    error: str | None = None

    @property
    def display(self) -> str:
        """The only one."""
        (html,) = self.displays.values()
        return html


class Kernel:
    def __init__(self, manager, client):
        self._manager = manager
        self._client = client

    def run(self, code, interrupt_when=None):
        """Run a cell; interrupt it when it prints something."""
        shown = Shown()

        def note(message):
            content = message["content"]
            match message["msg_type"]:
                case "display_data" | "update_display_data":
                    name = content["transient"]["display_id"]
                    shown.displays[name] = content["data"]["text/html"]
                case "stream" if content["name"] == "stdout":
                    shown.printed += content["text"]
                    if interrupt_when is not None and interrupt_when in content["text"]:
                        self._manager.interrupt_kernel()
                case "execute_result":
                    shown.value = content["data"]["text/plain"]
                case "error":
                    shown.error = "\n".join(content["traceback"])

        self._client.execute_interactive(code, output_hook=note, timeout=50)
        return shown


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kernel")
    journal = folder / "lokki.db"
    own = {
        "JUPYTER_PLATFORM_DIRS": "1",
        "JUPYTER_RUNTIME_DIR": folder,
        "IPYTHONDIR": folder,
        "HOME": folder,
        "LOKKI_LOCAL_JOURNAL": journal,
        "LOKKI_SERVER_URL": "http://runs.example.com/",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in own.items():
            patch.setenv(name, str(value))
        manager = KernelManager()
        manager.start_kernel(cwd=folder, env=dict(os.environ))
        client = manager.blocking_client()
        client.start_channels()
        try:
            client.wait_for_ready(timeout=50)
            ready = Kernel(manager, client)
            assert ready.run(CELLS).error is None
            yield ready
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)


@pytest.mark.parametrize("call", ["crunching.run_sync(count=3)", "await crunching.run(count=3)"])
def test_a_run_is_shown_with_its_stages_and_links_to_the_dashboard(kernel, call):
    shown = kernel.run(call)
    run_id = kernel.run("print(lokki.open_run().id)").printed.strip()
    assert shown.value == "[0, 1, 2]"
    for text in ("crunching", "succeeded", run_id, "numbers", "crunch", "3/3"):
        assert f">{text}<" in shown.display
    assert f'href="http://runs.example.com/ui/runs/{run_id}"' in shown.display


def test_an_error_has_the_users_lines_and_the_command_that_resumes_the_run(kernel):
    failed = kernel.run("crunching.run_sync(count=5)")
    assert ">failed<" in failed.display
    lines = failed.error.splitlines()
    step, cell = (line for line in lines if line.startswith("  Cell In["))
    assert step == "  Cell In[1], line 11, in crunch"
    assert re.fullmatch(r"  Cell In\[\d+\], line 1, in <module>", cell)
    assert "File" not in failed.error
    assert "lokki.errors.RunFailed: step 'crunch', item 3, attempt 1: ValueError: odd" in lines
    command = lines[-1].removeprefix("Resume it: ")
    assert command.startswith("crunching.resume_sync('")
    resumed = kernel.run(f"{FIXED}\n{command}")
    assert (resumed.value, resumed.error) == ("[0, 1, 2, 3, 4]", None)
    assert ">succeeded<" in resumed.display


def test_wrong_parameters_are_reported_with_the_cell_alone(kernel):
    error = kernel.run("crunching.run_sync(\n    size=5\n)").error
    assert error.count("\n  Cell In[") == 1
    assert "File" not in error
    assert "unknown parameter 'size'; it takes count" in error


def test_what_worker_processes_print_is_no_error(kernel):
    shown = kernel.run("telling.run_sync()")
    assert (shown.printed, shown.error) == ("from a worker\n", None)


@pytest.mark.parametrize("call", ["slowly.run_sync()", "await slowly.run()"])
def test_interrupting_a_cell_cancels_its_run(kernel, call):
    shown = kernel.run(call, interrupt_when="began")
    assert ">cancelled<" in shown.display
    interrupted, resume = shown.error.splitlines()
    run_id = resume.partition("'")[2].rstrip("')")
    assert interrupted == f"Interrupted: run {run_id} was cancelled"
    assert resume == f"Resume it: slowly.resume_sync('{run_id}')"
    assert kernel.run(f"lokki.open_run('{run_id}').status").value == "'cancelled'"
