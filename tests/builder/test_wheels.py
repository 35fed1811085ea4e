"""Which wheels a package takes: by Lambda's system, by path, and what may be executed in it."""

from __future__ import annotations

import importlib
import stat
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from lokki.builder.builder import build
from lokki.builder.needs import digest_of, needs_of
from lokki.builder.source import source_of
from lokki.builder.uv import uv
from lokki.builder.wheels import older_notes, resolved
from lokki.builder.zip_pkg import copy_code, install, write_zip
from lokki.config import load
from lokki.errors import BuildError

pytestmark = pytest.mark.timeout(120)

FLOW = """
from lokki import flow, step
{imports}

@step
def work():
    return 1

@flow
def {name}():
    return work()
"""
PROJECT = """
[project]
name = "a-project"
version = "1"
requires-python = ">=3.11"
dependencies = {dependencies}
"""
LIBRARY = """
[build-system]
requires = ["uv_build"]
build-backend = "uv_build"

[project]
name = "{name}"
version = "1"
"""


def wheel(folder, name, version, tag, files=()):
    """Write a wheel with these files; those whose name ends with ! may be executed."""
    folder.mkdir(exist_ok=True)
    info = f"{name}-{version}.dist-info"
    contents = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tag}\n",
        **dict(files),
    }
    record = "".join(f"{each.rstrip('!')},,\n" for each in [*contents, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"{name}-{version}-{tag}.whl", "w") as archive:
        for each, text in {**contents, f"{info}/RECORD": record}.items():
            entry = zipfile.ZipInfo(each.rstrip("!"))
            mode = 0o755 if each.endswith("!") else 0o644
            entry.external_attr = (stat.S_IFREG | mode) << 16
            archive.writestr(entry, text)


@pytest.fixture
def offered(tmp_path, monkeypatch):
    """Versions 1 to 4 of a package: for glibc 2.17, 2.28, 2.34 and 2.38."""
    folder = tmp_path / "offered"
    for version, glibc in enumerate(("2_17", "2_28", "2_34", "2_38"), start=1):
        for processor in ("x86_64", "aarch64"):
            wheel(folder, "lokki_test_compiled", version, f"py3-none-manylinux_{glibc}_{processor}")
    monkeypatch.setenv("UV_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def needed(tmp_path, offered, monkeypatch):
    """What a package needs, written as its build would, with nothing but the offered wheels."""
    monkeypatch.setenv("UV_NO_INDEX", "1")

    def write(*lines):
        (tmp_path / "overrides.txt").touch()
        file = tmp_path / "requirements.txt"
        file.write_text("\n".join(lines))
        return file

    return write


@pytest.fixture
def project(project_folder):
    """A folder with a flow and its dependencies."""
    folder = project_folder

    def make(name, dependencies, imports="", more=""):
        (folder / f"{name}.py").write_text(FLOW.format(name=name, imports=imports))
        text = PROJECT.format(dependencies=dependencies) + more
        (folder / "pyproject.toml").write_text(text)
        importlib.invalidate_caches()
        return vars(importlib.import_module(name))[name]

    return make


def library(folder, name, **files):
    (folder / "src" / name).mkdir(parents=True)
    (folder / "pyproject.toml").write_text(LIBRARY.format(name=name))
    (folder / "src" / name / "__init__.py").write_text(f"name = {name!r}")


def built(flow, folder, **settings):
    given = {name.replace("__", "."): value for name, value in settings.items()}
    return build(flow.outline(), replace(load(given), build_dir=str(folder)))


# ---- by the system of the runtime ----------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["x86_64", "arm64"])
@pytest.mark.parametrize(
    ("python", "taken", "told"),
    [
        ("3.11", "1", "on Amazon Linux 2 (glibc 2.26)"),
        ("3.12", "3", "on Amazon Linux 2023 (glibc 2.34)"),
        ("3.14", "3", "on Amazon Linux 2023 (glibc 2.34)"),
    ],
)
def test_wheels_are_those_of_the_runtimes_system(needed, python, taken, told, architecture):
    file, lambda_ = needed("lokki-test-compiled"), {"python": python, "architecture": architecture}
    found = resolved(file, **lambda_)
    assert found == {"lokki-test-compiled": taken}
    (note,) = older_notes(found, file, **lambda_)
    assert f"Lambda runs Python {python} {told}" in note
    assert f"lokki-test-compiled {taken} (newest: 4)" in note
    assert ("Python 3.12 and later run on Amazon Linux 2023" in note) == (python == "3.11")


def test_nothing_is_said_where_the_newest_is_taken(needed):
    file, lambda_ = needed("lokki-test-compiled<4"), {"python": "3.13", "architecture": "x86_64"}
    assert older_notes(resolved(file, **lambda_), file, **lambda_) == ()


def test_a_version_that_has_no_wheel_for_amazon_linux_2_names_the_python_that_has(needed):
    with pytest.raises(BuildError, match=r"lokki-test-compiled==3(?s:.*)") as told:
        resolved(needed("lokki-test-compiled==3"), python="3.11", architecture="x86_64")
    assert "Lambda runs Python 3.11 on Amazon Linux 2 (glibc 2.26)" in str(told.value)
    assert "uv run --python 3.12 lokki build" in str(told.value)
    with pytest.raises(BuildError, match="lokki-test-compiled==4") as told:
        resolved(needed("lokki-test-compiled==4"), python="3.11", architecture="x86_64")
    assert "Amazon Linux" not in str(told.value), "no Python of Lambda has it"


def test_an_image_has_the_wheels_of_a_zip_unless_its_base_is_ones_own(project, offered, tmp_path):
    flow = project("pictured_wheels", '["lokki-test-compiled"]')
    image = built(flow, tmp_path / "a", lambda__architecture="arm64")
    assert "(newest: 4)" in "".join(image.notes)
    dockerfile = (image.image / "Dockerfile").read_text()
    tag = "manylinux_2_17" if sys.version_info < (3, 12) else "manylinux_2_34"
    assert f"--python-platform aarch64-{tag} --only-binary :all:" in dockerfile
    own = built(flow, tmp_path / "b", lambda__base_image="own/python")
    assert own.notes == ()
    assert "--python-platform" not in (own.image / "Dockerfile").read_text()


# ---- by path -------------------------------------------------------------------------------------


def packed(source, folder):
    """The ZIP of a flow's code and its own dependencies, without those of lokki."""
    needs, code = needs_of(source), folder / "code"
    lines = [*needs.lines, *(each.put(folder / "wheels") for each in needs.wheels)]
    for name, text in {"requirements": "\n".join(lines), "overrides": "", "services": ""}.items():
        (folder / f"{name}.txt").write_text(text)
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    needed = folder / "requirements.txt"
    dependencies = install(needed, python=python, architecture="x86_64")
    copy_code(source, code, {}, beside=dependencies)
    write_zip(dependencies, code, folder / "function.zip")
    return folder / "function.zip"


def test_dependencies_by_path_are_packaged_and_what_is_executable_stays_so(
    project, offered, tmp_path, monkeypatch
):
    monkeypatch.setenv("UV_NO_INDEX", "1")
    tool, script = "#!/bin/sh\necho tool", "#!python\nprint()"
    scripts = {
        "lokki_test_tools-1.data/scripts/native!": "\x7fELF",
        "lokki_test_tools-1.data/scripts/script!": script,
    }
    files = {"tools/bin/tool!": tool, "tools/__init__.py": "", "tools/one.so!": "", **scripts}
    wheel(offered, "lokki_test_tools", 1, "py3-none-any", files)
    here = tmp_path / "project" / "inner"
    library(here, "inner")
    library(tmp_path / "beside", "beside")
    sources = """
[tool.uv.sources]
inner = { path = "inner", editable = true }
beside = { path = "../beside" }
"""
    flow = project("by_path", '["inner", "beside", "lokki-test-tools"]', more=sources)
    uv("lock", "--quiet", folder=Path.cwd())
    (Path.cwd() / "tool.sh").write_text(tool)
    (Path.cwd() / "tool.sh").chmod(0o755)
    with zipfile.ZipFile(packed(source_of(flow, "tool.sh"), tmp_path / "lambdas")) as opened:
        modes = {each.filename: each.external_attr >> 16 for each in opened.infolist()}
        assert opened.read("inner/__init__.py") == b"name = 'inner'"
    assert {"inner/__init__.py", "beside/__init__.py"} <= set(modes)
    assert not [name for name in modes if name.endswith(".pth") or "/src/" in name]
    runs = {name for name, mode in modes.items() if mode == 0o755}
    assert {"tools/bin/tool", "tools/one.so", "bin/native", "tool.sh"} <= runs
    assert modes["by_path.py"] == modes["tools/__init__.py"] == 0o644
    assert "bin/script" not in modes, "its first line would name this machine's Python"


def test_a_path_is_a_dependency_whatever_folder_one_is_in(project, tmp_path, monkeypatch):
    library(tmp_path / "beside", "beside")
    sources = '[tool.uv.sources]\nbeside = { path = "../beside" }\n'
    flow = project("anywhere", '["beside"]', more=sources)
    with pytest.raises(BuildError, match=r"where 'beside' comes from.*run `uv lock`"):
        needs_of(source_of(flow))
    uv("lock", "--quiet", folder=Path.cwd())
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "elsewhere" / "deep")
    source = source_of(flow)
    needs = needs_of(source)
    (made,) = needs.wheels
    assert (made.name, needs.lines) == ("beside-1-py3-none-any.whl", ())
    digest = digest_of(source, needs)
    assert digest == digest_of(source, needs_of(source))
    (tmp_path / "beside" / "src" / "beside" / "__init__.py").write_text("changed = 1")
    assert digest != digest_of(source, needs_of(source))


def test_a_dependency_may_name_its_path_without_a_lock_file(project, tmp_path):
    library(tmp_path / "named", "named")
    marked = f"named @ {(tmp_path / 'named').as_uri()} ; python_version >= '3.11'"
    needs = needs_of(source_of(project("naming", f'["six", "{marked}"]')))
    assert needs.lines == ("six",)
    written = needs.wheels[0].put(tmp_path / "wheels")
    file = "named-1-py3-none-any.whl"
    assert written == f"named @ ./wheels/{file} ; python_version >= '3.11'"
    assert (tmp_path / "wheels" / file).is_file()
    gone = f"gone @ {(tmp_path / 'gone').as_uri()}"
    with pytest.raises(BuildError, match="gone, which does not exist"):
        needs_of(source_of(project("losing", f'["{gone}"]')))


def test_lokki_by_path_is_the_one_that_is_installed(project, tmp_path):
    library(tmp_path / "lokki", "lokki_engine")
    more = '[tool.uv.sources]\nlokki-engine = { path = "../lokki" }\n'
    flow = project("developing", '["lokki-engine"]', more=more)
    uv("lock", "--quiet", folder=Path.cwd())
    needs = needs_of(source_of(flow))
    assert (needs.lines, needs.wheels) == ((), ())


def test_a_member_of_a_workspace_has_its_lock_file_and_its_neighbours(project, tmp_path):
    (tmp_path / "pyproject.toml").write_text(
        '[tool.uv.workspace]\nmembers = ["project", "neighbour"]\n'
    )
    library(tmp_path / "neighbour", "neighbour")
    more = "[tool.uv.sources]\nneighbour = { workspace = true }\n"
    flow = project("membership", '["neighbour"]', more=more)
    uv("lock", "--quiet", folder=Path.cwd())
    needs = needs_of(source_of(flow))
    assert [each.name for each in needs.wheels] == ["neighbour-1-py3-none-any.whl"]
    assert needs.complete


def test_code_that_is_installed_from_a_folder_here_is_a_dependency(project, tmp_path, monkeypatch):
    here = tmp_path / "project" / "inner"
    library(here, "inner")
    info = tmp_path / "site" / "inner-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: inner\nVersion: 1\n")
    (info / "direct_url.json").write_text(
        f'{{"url": "{here.as_uri()}", "dir_info": {{"editable": true}}}}'
    )
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.syspath_prepend(str(here / "src"))
    source = source_of(project("installing", "[]", imports="import inner"))
    assert source.files == (Path("installing.py"),)


def test_compiled_code_of_this_machine_is_refused(tmp_path):
    folder = tmp_path / "extension"
    folder.mkdir()
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "extension"\nversion = "1"\n'
    )
    (folder / "backend.py").write_text(
        "import pathlib, zipfile\n"
        "def build_wheel(folder, *_):\n"
        "    name = 'extension-1-cp311-cp311-linux_x86_64.whl'\n"
        "    with zipfile.ZipFile(pathlib.Path(folder, name), 'w') as made:\n"
        "        made.writestr('extension-1.dist-info/METADATA', '')\n"
        "    return name\n"
    )
    from lokki.builder.local import wheel_of

    with pytest.raises(BuildError, match=r"compiled code.*linux_x86_64.*for manylinux"):
        wheel_of(folder)
