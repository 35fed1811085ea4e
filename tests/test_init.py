"""What ``import lokki`` gives, and what it costs."""

import json
import subprocess
import sys
from importlib.resources import files

import pytest

import lokki

PUBLIC = [
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


def fresh(program):
    """What a program prints as JSON in an interpreter that has imported nothing of ours."""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_public_names_are_pinned():
    assert lokki.__all__ == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_resolves(name):
    value = getattr(lokki, name)
    assert value.__name__ == name
    assert value.__module__.partition(".")[0] == "lokki"


def test_a_star_import_gives_them_all():
    assert fresh(
        "import json; before = {*globals(), 'before'}; from lokki import *;"
        "print(json.dumps(sorted({*globals()} - before)))"
    ) == sorted(PUBLIC)


def test_a_lazy_name_is_the_thing_itself():
    from lokki.engine.engine import Engine

    assert lokki.Engine is lokki.Engine is Engine


def test_names_of_before_stay_importable():
    from lokki import Again
    from lokki.store.protocol import PayloadStore, TransientStore
    from lokki.testing.stores import PayloadStoreConformance, TransientStoreConformance

    assert Again is lokki.ResumeOptions
    assert TransientStore is PayloadStore
    assert TransientStoreConformance is PayloadStoreConformance


def test_an_unknown_name():
    with pytest.raises(AttributeError, match="module 'lokki' has no attribute 'flows'"):
        lokki.flows
    with pytest.raises(ImportError, match="cannot import name 'flows' from 'lokki'"):
        from lokki import flows  # noqa: F401


def test_every_error_is_a_lokki_error():
    errors = [getattr(lokki, name) for name in PUBLIC]
    errors = [e for e in errors if isinstance(e, type) and issubclass(e, BaseException)]
    assert len(errors) > 10
    assert all(issubclass(error, lokki.LokkiError) for error in errors)


LOADED = (
    "import json, sys; before = set(sys.modules); {program};"
    "print(json.dumps(sorted(set(sys.modules) - before)))"
)


def test_import_loads_the_definition_layer_alone():
    loaded = fresh(LOADED.format(program="import lokki"))
    ours = {name for name in loaded if name.partition(".")[0] == "lokki"}
    assert ours == {
        "lokki",
        "lokki.chain",
        "lokki.decorators",
        "lokki.defaults",
        "lokki.deferred",
        "lokki.durations",
        "lokki.errors",
        "lokki.graph",
        "lokki.model",
        "lokki.model.base",
        "lokki.model.structure",
        "lokki.numeric",
        "lokki.rate",
        "lokki.params",
        "lokki.params.checking",
        "lokki.params.examples",
        "lokki.params.kinds",
        "lokki.params.parameter",
        "lokki.params.signature",
        "lokki.params.values",
        "lokki.params.words",
        "lokki.retry",
        "lokki.secret",
        "lokki.stages",
        "lokki.standin",
        "lokki.steps",
        "lokki.tags",
        "lokki.target",
        "lokki.tracing",
        "lokki.ways",
        "lokki.wording",
    }


def test_import_loads_nothing_from_outside_the_standard_library():
    loaded = fresh(LOADED.format(program="import lokki"))
    packages = {name.partition(".")[0] for name in loaded} - {"lokki"}
    assert packages - sys.stdlib_module_names == set()


@pytest.mark.parametrize("heavy", ["asyncio", "sqlite3", "subprocess", "logging"])
def test_import_loads_no_heavy_module(heavy):
    assert heavy not in fresh(LOADED.format(program="import lokki"))


def test_a_typed_package():
    assert files("lokki").joinpath("py.typed").is_file()
