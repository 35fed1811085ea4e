"""docs/architecture.md and CONTRIBUTING.md are right about the code: picture, names, paths."""

import re
import runpy
from graphlib import CycleError
from pathlib import Path
from pkgutil import resolve_name

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PATH = re.compile(r"`((?:lokki|server|tests|docs|bench)/[\w/.-]+)`")
MAKER = runpy.run_path(str(DOCS / "make_architecture.py"))
PAGE = (DOCS / "architecture.md").read_text()
NAMES = sorted(set(re.findall(r"`(lokki(?:_server)?(?:\.\w+)+)`", PAGE)))


def test_the_picture_is_drawn_from_the_imports_there_are():
    committed = (DOCS / "architecture.svg").read_text()
    assert committed == MAKER["picture"](), "run: python docs/make_architecture.py"


def test_imports_point_down_and_every_room_has_a_layer():
    layers, imports = MAKER["layers"](), MAKER["imports"]()
    assert MAKER["arrows_up"](layers, imports) == []
    rooms = [room for layer in layers for room in layer]
    assert sorted(rooms) == sorted(imports.keys() | set().union(*imports.values()))


def test_an_import_that_points_up_is_found():
    layers = [["top"], ["left", "right"], ["bottom"]]
    imports = {"top": {"left"}, "left": {"right"}, "bottom": {"top"}}
    assert MAKER["arrows_up"](layers, imports) == [("left", "right"), ("bottom", "top")]


def test_an_arrow_that_a_longer_way_implies_is_left_out():
    imports = {"top": {"middle", "bottom", "aside"}, "middle": {"bottom"}}
    assert MAKER["reduced"](imports) == [("middle", "bottom"), ("top", "aside"), ("top", "middle")]


def test_a_circle_cannot_be_drawn():
    with pytest.raises(CycleError):
        MAKER["reduced"]({"one": {"other"}, "other": {"one"}})


def is_there(name):
    try:
        resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


def test_what_the_page_names_is_there():
    assert not is_there("lokki.engine.engine.Engine.nothing")
    assert {
        "lokki.engine.engine.Engine.submit",
        "lokki.store.records.write",
        "lokki.runtime.invocation.Invocation.run",
    } <= set(NAMES)
    assert [name for name in NAMES if not is_there(name)] == []


def test_every_package_is_in_the_table_of_rooms():
    packages = {path.parent.name for path in ROOT.glob("lokki/*/__init__.py")}
    assert {name for name in packages if f"`lokki/{name}/" not in PAGE} == set()


@pytest.mark.parametrize("page", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_paths_of_a_page_are_there(page):
    paths = set(PATH.findall((ROOT / page).read_text()))
    assert len(paths) > 15
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []
