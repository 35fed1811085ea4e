"""Packages: what is in them, that the same gives the same, and what is refused."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tomllib
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from lokki.builder import zip_pkg
from lokki.builder.builder import build
from lokki.builder.needs import Needs, digest_of, needs_of
from lokki.builder.source import Source, source_of
from lokki.builder.uv import uv
from lokki.config import load
from lokki.errors import BuildError
from lokki.rehearse.images import assembled
from lokki.runtime.container import command

ROOT = Path(__file__).parent.parent.parent
pytestmark = pytest.mark.timeout(120)

FLOW = """
from lokki import flow, main, step
{imports}

@step
def first(limit: int = 2):
    return list(range(limit))

@step(retry={{"retries": 2, "delay": 0.1}})
def second(item):
    return item

@flow
def {name}(limit: int):
    return first().map(second)

if __name__ == "__main__":
    main({name})
"""


@pytest.fixture
def project(project_folder):
    """A folder with these files, whose flow is imported."""
    folder = project_folder

    def make(name, imports="", **files):
        (folder / f"{name}.py").write_text(FLOW.format(name=name, imports=imports))
        for path, text in files.items():
            file = folder / path.replace("__", "/", 1).replace("DOT", ".")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        importlib.invalidate_caches()
        return vars(importlib.import_module(name))[name]

    return make


def built(flow, build_dir, **settings):
    given = {name.replace("__", "."): value for name, value in settings.items()}
    return build(flow.outline(), replace(load(given), build_dir=build_dir))


def names(package):
    with zipfile.ZipFile(package.file) as opened:
        return opened.namelist()


def test_a_zip_has_the_flow_what_it_imports_and_what_it_depends_on(project, build_dir):
    flow = project(
        "packed", "import beside, parts.inner", besideDOTpy="", parts____init__DOTpy="",
        parts__innerDOTpy="", unusedDOTpy="", parts__dataDOTtxt="5",
    )  # fmt: skip
    package = built(flow, build_dir, lambda__package_type="zip").package
    found = names(package)
    own = {"packed.py", "beside.py", "handler.py", "parts/inner.py", "parts/data.txt"}
    assert own <= set(found)
    assert "unused.py" not in found
    assert {"lokki/runtime/handler.py", "aiobotocore/session.py"} <= set(found)
    tops = {name.partition("/")[0] for name in found}
    assert not tops & {"rich", "click", "pygments", "uvicorn", "fastapi", "moto", "bin"}
    assert not [name for name in found if name.endswith(".pyi") or "/tests/" in name]
    assert any(name.startswith("lokki/__pycache__/") for name in found), "it is compiled"
    services = {name.split("/")[2] for name in found if name.startswith("botocore/data/")}
    assert "s3" in services
    assert "ec2" not in services
    assert package.size < 25e6
    assert sum(part.unpacked for part in package.parts) == package.unpacked
    assert package.parts[0].zipped > package.parts[-1].zipped


def test_what_was_built_before_is_not_packaged_again(project, dependencies):
    flow = project("rebuilt", "import parts", parts____init__DOTpy="")
    dependencies.into(Path("parts/built"))
    once = built(flow, "parts/built", lambda__package_type="zip").package.file.read_bytes()
    again = built(flow, "parts/built", lambda__package_type="zip").package
    assert again.file.read_bytes() == once
    assert not [name for name in names(again) if name.startswith("parts/built")]


def test_the_same_gives_the_same_bytes_in_another_process_too(project, build_dir, tmp_path):
    flow = project("again")
    first = built(flow, build_dir, lambda__package_type="zip").package.file.read_bytes()
    settings = {
        "LOKKI_BUILD_DIR": str(tmp_path / "elsewhere"),
        "LOKKI_LAMBDA_PACKAGE_TYPE": "zip",
    }
    command = [sys.executable, "-m", "lokki", "build", "again.py"]
    subprocess.run(command, env=os.environ | settings, check=True)
    assert (tmp_path / "elsewhere" / "lambdas" / "function.zip").read_bytes() == first


def test_no_path_of_this_machine_is_in_a_package(project, build_dir, tmp_path):
    flow = project("private")
    package = built(flow, build_dir, lambda__package_type="zip").package
    here = [str(each).encode() for each in (ROOT, tmp_path, Path(build_dir).resolve())]
    with zipfile.ZipFile(package.file) as opened:
        for name in opened.namelist():
            assert not [path for path in here if path in opened.read(name)], name


def test_files_beside_the_flow_are_included_by_globs(project, build_dir):
    flow = project("included", data__aDOTcsv="1", data__bDOTtxt="2", modelsDOTbin="3")
    settings = {"lambda__package_type": "zip", "lambda__include": "data/*.csv, *.bin"}
    found = set(names(built(flow, build_dir, **settings).package))
    assert {"data/a.csv", "models.bin"} <= found
    assert "data/b.txt" not in found
    with pytest.raises(BuildError, match=r"lambda.include: 'nothing/\*' matches no file"):
        built(flow, build_dir, lambda__include="nothing/*")


def test_an_image_has_a_dockerfile_and_what_it_copies(project, build_dir):
    image = built(project("pictured"), build_dir).image
    dockerfile = (image / "Dockerfile").read_text()
    assert "FROM public.ecr.aws/lambda/python:3." in dockerfile
    assert 'ENTRYPOINT ["python", "-m", "lokki.runtime.container"]' in dockerfile
    copied = {"requirements.txt", "overrides.txt"}
    assert copied <= {each.name for each in image.iterdir()}
    assert {each.name for each in (image / "code").iterdir()} == {"pictured.py", "handler.py"}
    assert "awslambdaric==" in (image / "requirements.txt").read_text()
    own = built(project("based"), build_dir, lambda__base_image="own/python").image
    assert "FROM own/python" in (own / "Dockerfile").read_text()


def test_images_of_different_flows_share_what_they_depend_on(project, dependencies, tmp_path):
    place = dependencies.into(tmp_path / "built")
    folders = [
        assembled(built(project(name), place).folder, tmp_path / name)
        for name in ("one_image", "another_image")
    ]
    one, other = (folder / "lokki" / "__init__.py" for folder in folders)
    assert one.samefile(other)


def test_an_image_runs_a_handler_in_lambda_and_a_command_elsewhere():
    given = ["handler.handler"]
    there = {"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:1"}
    assert command(given, there) == [sys.executable, "-m", "awslambdaric", *given]
    assert command(["python", "-V"], {}) == ["python", "-V"]


def test_the_documents_are_written_beside_and_reported(project, build_dir):
    done = built(project("documented"), build_dir)
    machine = json.loads(done.machine.read_text())
    template = json.loads(done.template.read_text())
    definition = template["Resources"]["StateMachine"]["Properties"]["Definition"]
    assert machine == definition
    assert done.states == len(machine["States"])
    assert done.resources == len(template["Resources"])
    assert {who for who, _ in done.may} == {"steps", "state machine"}
    (note,) = done.notes
    assert "step 'second'" in note
    assert note.endswith(": delay=0.1 becomes 1")


# ---- what it depends on --------------------------------------------------------------------------

PROJECT = """
[project]
name = "a-project"
version = "1"
requires-python = ">=3.11"
dependencies = {dependencies}
"""


def test_a_project_says_what_it_depends_on(project):
    flow = project(
        "depending", pyprojectDOTtoml=PROJECT.format(dependencies='["six>=1", "lokki-engine>=0.1"]')
    )
    needs = needs_of(source_of(flow))
    assert needs.lines == ("six>=1",)
    assert not needs.complete
    assert needs.has("click"), "six may need it, for all that is known"


@pytest.mark.parametrize("told", ["lokki", "Lokki >= 0.1"])
def test_another_project_of_the_name_lokki_is_refused(project, told):
    flow = project("mistaken", pyprojectDOTtoml=PROJECT.format(dependencies=[told]))
    with pytest.raises(
        BuildError, match=r"pyproject.toml depends on 'lokki', .* depend on 'lokki-engine'"
    ):
        needs_of(source_of(flow))


def test_a_lock_file_says_what_it_all_depends_on(project):
    flow = project(
        "locked", pyprojectDOTtoml=PROJECT.format(dependencies='["python-dateutil==2.9.0.post0"]')
    )
    uv("lock", "--quiet", folder=Path.cwd())
    needs = needs_of(source_of(flow))
    assert {line.partition("==")[0] for line in needs.lines} == {"python-dateutil", "six"}
    assert needs.complete
    assert needs.has("six")
    assert not needs.has("click")


def test_a_lock_file_that_is_old_is_refused(project):
    flow = project("stale", pyprojectDOTtoml=PROJECT.format(dependencies="[]"))
    uv("lock", "--quiet", folder=Path.cwd())
    Path("pyproject.toml").write_text(PROJECT.format(dependencies='["six"]'))
    with pytest.raises(BuildError, match=r"'uv export' failed:\n.*lock"):
        needs_of(source_of(flow))


def test_what_is_not_to_be_had_is_reported_by_uv(project, tmp_path):
    dependencies = '["no-such-package-of-anybody==1"]'
    flow = project("wanting", pyprojectDOTtoml=PROJECT.format(dependencies=dependencies))
    with pytest.raises(BuildError, match=r"'uv pip install' failed:\n(?s:.*)no-such-package"):
        built(flow, str(tmp_path / "wanting"), lambda__package_type="zip")


def test_without_uv_it_says_how_to_get_it(project, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(BuildError, match="uv, which is not installed: pip install uv"):
        uv("--version")


def test_too_much_for_a_zip_is_refused_with_advice(project, build_dir, monkeypatch):
    monkeypatch.setattr(zip_pkg, "MOST_UNPACKED", 1_000_000)
    with pytest.raises(
        BuildError, match=r"takes 1 MB in a ZIP .*set lambda.package_type to .image"
    ):
        built(project("too_large"), build_dir, lambda__package_type="zip")


@pytest.mark.parametrize("architecture", ["x86_64", "arm64"])
def test_compiled_libraries_are_those_of_the_architecture(
    project, build_dir, tmp_path, architecture
):
    settings = {"lambda__package_type": "zip", "lambda__architecture": architecture}
    folder = build_dir if architecture == load().lambda_.architecture else str(tmp_path / "b")
    found = names(built(project(f"for_{architecture}"), folder, **settings).package)
    libraries = [name for name in found if name.endswith(".so")]
    machine = {"arm64": "aarch64"}.get(architecture, architecture)
    assert libraries
    assert all(machine in name for name in libraries if "linux-gnu" in name)


# ---- what is refused -----------------------------------------------------------------------------


def test_a_file_that_would_be_another_ones_is_refused(project, build_dir):
    flow = project("clashing", "import handler", handlerDOTpy="")
    with pytest.raises(BuildError, match=r"handler.py has the name of another file"):
        built(flow, build_dir)


def test_a_flow_of_no_file_is_refused():
    done = subprocess.run(
        [sys.executable, "-c", f"{FLOW.format(name='bare', imports='')}"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LOKKI_ARGS": ""},
    )
    assert done.returncode != 0
    code = FLOW.format(name="bare", imports="").replace("main(bare)", "source_of(bare)")
    code = f"from lokki.builder.source import source_of\n{code}"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "flow 'bare' is not in a file" in told.stderr


def test_a_schedule_needs_defaults(build_dir):
    from lokki import flow, step

    @step
    def work(limit):
        return limit

    @flow(schedule="rate(1 hour)")
    def nightly(limit: int):
        return work()

    with pytest.raises(BuildError, match=r"flow 'nightly' has a schedule.* limit has none"):
        built(nightly, build_dir)


SCHEDULED = """
@step
def nothing():
    pass

@flow(schedule="rate(1 hour)")
def hourly():
    return nothing()

@flow(schedule="rate(1 hour)", overlap="allow")
def overlapping():
    return nothing()

@flow(schedule="rate(1 hour)", overlap="queue")
def in_turn():
    return nothing()
"""


def test_a_build_tells_what_becomes_of_overlaps_or_refuses_to_promise(project, tmp_path):
    project("scheduled", SCHEDULED)
    flows = vars(sys.modules["scheduled"])
    (note,) = built(flows["hourly"], str(tmp_path / "a")).notes
    assert "AWS starts a run at each time" in note
    assert built(flows["overlapping"], str(tmp_path / "b")).notes == ()
    with pytest.raises(
        BuildError, match=r"overlap='queue' is not possible on AWS.*overlap='allow'"
    ):
        built(flows["in_turn"], str(tmp_path / "c"))
    assert not (tmp_path / "c").exists()


def test_a_map_that_nothing_counts_is_refused(build_dir):
    from lokki import flow, step

    @step
    def work(item=None):
        return [item]

    @flow
    def uncounted():
        return work().map(work, batch_size=5, tolerated_failures=1)

    with pytest.raises(BuildError, match=r"nothing counts on AWS: close it with .agg\(\)"):
        built(uncounted, build_dir)


def test_the_pinned_runtime_client_is_that_of_the_extra():
    from lokki.builder.image_pkg import RUNTIME_CLIENT

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert RUNTIME_CLIENT in extras["rehearse"]


# ---- what has not changed ------------------------------------------------------------------------


def test_what_is_made_of_the_same_is_left_as_it_is(project, build_dir):
    flow = project("unchanged", "import beside", besideDOTpy="")
    config = replace(load({"lambda.package_type": "zip"}), build_dir=build_dir)
    first = build(flow.outline(), config)
    again = build(flow.outline(), config, reuse=True)
    assert (first.reused, again.reused, again.digest) == (False, True, first.digest)
    assert again.package == first.package
    (Path(sys.modules["unchanged"].__file__).parent / "beside.py").write_text("changed = 1")
    changed = build(flow.outline(), config, reuse=True)
    assert (changed.reused, changed.digest != first.digest) == (False, True)


NOTHING = Needs((), complete=True)


def test_a_digest_is_that_of_what_is_there_not_of_where_it_is(tmp_path):
    places = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "flow.py").write_text("x = 1")
        places.append(Source("flow", tmp_path / name, None, (Path("flow.py"),)))
    first, second = (digest_of(source, NOTHING, "3.13") for source in places)
    assert first == second != digest_of(places[0], NOTHING, "3.12")
