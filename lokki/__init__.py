"""lokki: map a function over ten thousand things, durably, here or in the cloud.

The definition layer is loaded at once, the engine and the command line on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from lokki.chain import MapBlock, Step, StepNode
from lokki.decorators import Flow, flow, step
from lokki.errors import (
    AwsError,
    BuildError,
    ConfigError,
    DefinitionError,
    FingerprintError,
    JournalError,
    JournalVersionError,
    LokkiError,
    ParameterError,
    PayloadError,
    RunCancelled,
    RunError,
    RunFailed,
    RunNotFound,
    RunOwned,
    ServerError,
    WorkerDied,
)
from lokki.graph import FlowGraph
from lokki.retry import RetryConfig, RetryLater
from lokki.secret import Secret
from lokki.stages import MapStage, TaskStage

if TYPE_CHECKING:
    from lokki.call import Context, current
    from lokki.client import Client, ServerRun
    from lokki.engine.engine import Engine, RunHandle
    from lokki.model.failure import Failure
    from lokki.notebook.shown import ShownValue
    from lokki.notebook.table import Table
    from lokki.recorded import RecordedRun, open_run, runs
    from lokki.resumption import Again as Again  # the earlier name
    from lokki.resumption import ResumeOptions
    from lokki.showing import show
    from lokki.sources import s3_objects, s3_rows

_LAZY = {
    "Again": "lokki.resumption",
    "Client": "lokki.client",
    "Context": "lokki.call",
    "Engine": "lokki.engine.engine",
    "Failure": "lokki.model.failure",
    "RecordedRun": "lokki.recorded",
    "ResumeOptions": "lokki.resumption",
    "RunHandle": "lokki.engine.engine",
    "ServerRun": "lokki.client",
    "Table": "lokki.notebook.table",
    "current": "lokki.call",
    "ShownValue": "lokki.notebook.shown",
    "open_run": "lokki.recorded",
    "runs": "lokki.recorded",
    "s3_objects": "lokki.sources",
    "s3_rows": "lokki.sources",
    "show": "lokki.showing",
}

__version__ = "0.2.0"
__all__ = [
    "AwsError",
    "BuildError",
    "Client",
    "ConfigError",
    "Context",
    "DefinitionError",
    "Engine",
    "Failure",
    "FingerprintError",
    "Flow",
    "FlowGraph",
    "JournalError",
    "JournalVersionError",
    "LokkiError",
    "MapBlock",
    "MapStage",
    "ParameterError",
    "PayloadError",
    "RecordedRun",
    "ResumeOptions",
    "RetryConfig",
    "RetryLater",
    "RunCancelled",
    "RunError",
    "RunFailed",
    "RunHandle",
    "RunNotFound",
    "RunOwned",
    "Secret",
    "ServerError",
    "ServerRun",
    "ShownValue",
    "Step",
    "StepNode",
    "Table",
    "TaskStage",
    "WorkerDied",
    "current",
    "flow",
    "main",
    "open_run",
    "runs",
    "s3_objects",
    "s3_rows",
    "show",
    "step",
]


def main(flow: Flow[..., Any]) -> NoReturn:
    """The command line of a flow's own script: ``python birds.py run [--param value …]``.

    Reads ``sys.argv`` and exits: 0 done, 1 the run failed or the command is unknown, 2 wrong
    usage, 130 interrupted. The flow's result is printed on stdout, everything else on stderr.
    """
    from lokki.cli.main import main_of  # not earlier: Lambda has no commands

    main_of(flow)


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'lokki' has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(_LAZY[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
