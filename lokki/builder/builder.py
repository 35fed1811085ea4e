"""``lokki build``: writes the package, the state machine and the template of a flow."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from lokki.builder.children import standard_notes
from lokki.builder.document import Document
from lokki.builder.durable import check_durable, is_durable, orchestrator_source
from lokki.builder.image_pkg import CODE, RUNTIME_CLIENT, write_dockerfile
from lokki.builder.limits import check_limits, json_text
from lokki.builder.needs import Needs, digest_of, needs_of
from lokki.builder.notes import rate_notes, schedule_notes, settings_notes
from lokki.builder.permissions import source_notes
from lokki.builder.resources import Statement, Template
from lokki.builder.retries import rounded
from lokki.builder.sizes import batched
from lokki.builder.source import Source, source_of
from lokki.builder.states import state_machine
from lokki.builder.template import has_functions, needs_image, permissions, template
from lokki.builder.wheels import older_notes, resolved
from lokki.builder.zip_pkg import (
    Zip,
    copy_code,
    install,
    install_notes,
    read_zip,
    write_requirements,
    write_zip,
)
from lokki.caching import check_caching
from lokki.config import Config
from lokki.errors import BuildError
from lokki.graph import FlowGraph
from lokki.model.structure import dumped
from lokki.stages import MapStage

PYTHONS = ("3.11", "3.12", "3.13", "3.14", "3.15")
"""The Pythons of Lambda (docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html) to build for.

3.15 is a preview there.
"""

_MADE_OF = "made-of.txt"
"""The file with the hash of what a package or image is made of; not part of either."""
_MOST_OF_A_TAG = 32  # a function's description, which has it, has at most 256 characters


@dataclass(frozen=True, slots=True)
class Build:
    """What was written, with notes about it.

    ``machine`` is None for a durable function, ``package`` if there is an image instead; ``image``
    is the folder of its Dockerfile. ``digest`` is a hash of what both are made of; ``reused``:
    they existed before.
    ``with_image`` makes the template for an image of another tag.
    """

    folder: Path
    template: Path
    machine: Path | None
    package: Zip | None
    image: Path | None
    states: int
    resources: int
    may: tuple[tuple[str, Statement], ...]
    notes: tuple[str, ...]
    digest: str
    reused: bool
    with_image: Callable[[str], Template]


def build(graph: FlowGraph[Any], config: Config, *, reuse: bool = False) -> Build:
    """Write the build of a flow into the configured folder, replacing an earlier one.

    With ``reuse``, a package or an image's folder that was made of the same is kept. Raises
    BuildError or ConfigError for a flow that cannot be built, and then writes nothing.
    """
    assert graph.flow is not None
    _check(graph, config)
    python, durable = python_version(), is_durable(graph, config)
    named = replace(graph, name=config.aws.deployed_name(graph.name))
    if durable:
        check_durable(named, config, python)
    notes = [
        *_notes(graph),
        *standard_notes(graph, config),
        *source_notes(graph, config),
        *settings_notes(config),
    ]
    source = source_of(graph.flow, config.lambda_.include, config.build_dir)
    needs = needs_of(source)
    document = partial(template, named, config, module=source.module, python=python)
    machine = None if durable else state_machine(named, config)
    check_limits(document(), machine)
    folder = Path(config.build_dir)
    lambdas, modules = folder / "lambdas", _modules(graph, config)
    zipped = config.lambda_.package_type == "zip" and has_functions(graph, config)
    imaged, settings = needs_image(graph, config), config.lambda_
    kinds = f"{zipped} {imaged} {settings.architecture} {settings.base_image}"
    digest, made = (
        digest_of(source, needs, "".join(modules.values()), python, kinds),
        lambdas / _MADE_OF,
    )
    reused = reuse and made.is_file() and made.read_text() == digest
    if not reused:
        if lambdas.exists():
            shutil.rmtree(lambdas)
        if zipped:
            notes += _zip(source, needs, lambdas, modules, config, python, durable=durable)
        if imaged:
            notes += _image(source, needs, lambdas, modules, config, python, durable=durable)
        lambdas.mkdir(parents=True, exist_ok=True)
        made.write_text(digest)
    package = read_zip(lambdas / "function.zip") if zipped else None

    def with_image(tag: str) -> Template:
        return document(
            code=_code(package, f"{digest} {tag[-_MOST_OF_A_TAG:]}" if imaged else None)
        )

    made_of = with_image(settings.image_tag)
    return Build(
        folder,
        _written(folder / "template.yaml", made_of),
        None if machine is None else _written(folder / "statemachine.json", machine),
        package,
        lambdas if imaged else None,
        0 if machine is None else len(machine.states),
        len(made_of.resources),
        tuple(permissions(named, config)),
        tuple(dict.fromkeys(notes)),
        digest,
        reused,
        with_image,
    )


def _code(package: Zip | None, image: str | None) -> str:
    """What names the content of package and image in a template."""
    zipped = package and sha256(package.file.read_bytes()).hexdigest()[:16]
    return " ".join(each for each in (zipped, image) if each)


def clean(config: Config) -> None:
    """Delete the build, and the dependencies kept for the next one."""
    folder = Path(config.build_dir)
    for each in (folder / "lambdas", *folder.glob("dependencies-*")):
        shutil.rmtree(each, ignore_errors=True)


def python_version() -> str:
    """The Python version of the functions: this process's. Raises BuildError."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if version not in PYTHONS:
        raise BuildError(f"Lambda has no Python {version}: build with one of {', '.join(PYTHONS)}")
    return version


def handler_source(graph: FlowGraph[Any]) -> str:
    """The module that Lambda calls."""
    return (
        '"""Made by `lokki build`; LOKKI_STEP_NAME says which step, LOKKI_MODULE_NAME where."""\n\n'
        "import gc\n\n"
        "gc.disable()  # what is imported stays: looking for garbage in it would only take time\n"
        "from lokki.runtime.handler import Handler\n\n"
        "gc.freeze()\n"
        "gc.enable()\n\n"
        f"handler = Handler({graph.name!r}, {dumped(graph.structure)!r})\n"
    )


def _modules(graph: FlowGraph[Any], config: Config) -> dict[str, str]:
    """The modules that Lambda calls, by the names of their files."""
    handler = {"handler.py": handler_source(graph)}
    if not is_durable(graph, config):
        return handler
    return {**handler, "orchestrator.py": orchestrator_source(graph.name, dumped(graph.structure))}


def _check(graph: FlowGraph[Any], config: Config) -> None:
    flow = graph.flow
    assert flow is not None
    needed = [each.name for each in flow.parameters if each.required and not each.is_secret]
    if flow.schedule is not None and needed:
        raise BuildError(
            f"flow '{flow.name}' has a schedule, which starts it with its default parameters, but "
            f"{', '.join(needed)} has none: give it a default"
        )
    last = graph.stages[-1]
    batches = isinstance(last, MapStage) and last.batch_size and last.tolerated_failures
    if batches and not is_durable(graph, config):
        raise BuildError(
            f"flow '{flow.name}' ends with a map with batch_size and tolerated_failures, which "
            "nothing counts on AWS: close it with .agg()"
        )


def _zip(
    source: Source,
    needs: Needs,
    folder: Path,
    modules: Mapping[str, str],
    config: Config,
    python: str,
    *,
    durable: bool,
) -> tuple[str, ...]:
    """Write the package; notes about its dependencies."""
    code = folder / CODE
    needed = write_requirements(needs, folder, durable=durable)
    dependencies = install(needed, python=python, architecture=config.lambda_.architecture)
    copy_code(source, code, modules, beside=dependencies)
    write_zip(dependencies, code, folder / "function.zip")
    shutil.rmtree(code)
    (folder / "handler.py").write_text(modules["handler.py"], "utf-8")
    return install_notes(dependencies)


def _image(
    source: Source,
    needs: Needs,
    folder: Path,
    modules: Mapping[str, str],
    config: Config,
    python: str,
    *,
    durable: bool,
) -> tuple[str, ...]:
    """Write the image's folder; notes about the dependencies that it will have."""
    base = config.lambda_.base_image
    needed = write_requirements(needs, folder, RUNTIME_CLIENT, durable=durable)
    copy_code(source, folder / CODE, modules)
    shutil.copyfile(folder / CODE / "handler.py", folder / "handler.py")
    architecture = config.lambda_.architecture
    write_dockerfile(folder, python=python, architecture=architecture, base=base)
    if base is not None or not (needs.lines or needs.wheels):
        return ()
    taken = resolved(needed, python=python, architecture=architecture)
    return older_notes(taken, needed, python=python, architecture=architecture)


def _written(file: Path, document: Document) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json_text(document), "utf-8")
    return file


def _notes(graph: FlowGraph[Any]) -> Iterator[str]:
    """Notes on differences between AWS and here.

    Raises BuildError for what AWS cannot do, DefinitionError for a step that cannot be cached.
    """
    check_caching(graph)
    yield from schedule_notes(graph)
    yield from rate_notes(graph)
    for call in graph.calls:
        if call.step.job_type == "lambda" and (changed := rounded(call.step.retry)):
            yield (
                f"step '{call.name}': Step Functions waits whole seconds before a retry, at least "
                "one, and its longest wait must be longer than its first: " + ", ".join(changed)
            )
    for stage in graph.stages:
        if isinstance(stage, MapStage) and stage.batch_size and not batched(stage):
            yield f"map '{stage.name}': a Batch job takes one item, whatever batch_size says"
