"""Annotations without quotes whose names are not known when a flow or a step is defined."""

import sys
import textwrap
import types

import pytest

from lokki import DefinitionError, Engine

pytestmark = pytest.mark.skipif(
    sys.version_info < (3, 14), reason="annotations are evaluated at once before Python 3.14"
)

SOURCE = """
    from dataclasses import dataclass
    from typing import TYPE_CHECKING, TypedDict

    from lokki import flow, step

    if TYPE_CHECKING:
        from numpy import ndarray

    @step(executor="process")
    def crops(sizes: list[Size], array: ndarray | None) -> list[ndarray]:
        return [each.width for each in sizes]

    @step(executor="process")
    def doubled(width: Pixels) -> ndarray:
        return 2 * width

    @flow
    def cut(size: Size, more: list[Size] = (), array: ndarray | None = None, flag: bool = False):
        return crops([size, *more], array=array).map(doubled)

    @flow
    def shown(view: View):
        return crops([view.size], array=None)

    @dataclass
    class Size:
        width: Pixels

    class View(TypedDict):
        size: Size
        array: ndarray

    Pixels = int
"""


@pytest.fixture
def module(monkeypatch, tmp_path):
    file = tmp_path / "deferring.py"
    file.write_text(textwrap.dedent(SOURCE))
    monkeypatch.syspath_prepend(tmp_path)
    import deferring

    yield deferring
    del sys.modules["deferring"]


def test_names_that_are_defined_later_are_known_to_parameters(module):
    size, more, array, flag = module.cut.parameters
    assert (size.annotation, more.annotation) == (module.Size, list[module.Size])
    assert (array.annotation, array.type_label) == ("ndarray | None", "ndarray | None")
    assert flag.is_flag


def test_names_for_type_checkers_harm_only_their_parameter(module):
    values = {"size": {"width": 1}}
    assert module.cut.parameters.validate(values)["size"] == module.Size(1)
    message = r"cut: .*'array'.*'ndarray \| None' is unknown; import or define it"
    with pytest.raises(DefinitionError, match=message):
        module.cut.parameters.validate({**values, "array": [1]})


def test_an_attribute_of_a_class_with_unknown_names_needs_no_value(module):
    assert module.shown.outline().stages[0].name == "crops"


@pytest.mark.asyncio
async def test_steps_with_unknown_names_run_in_workers(module):
    async with Engine(processes=1) as engine:
        values = {"size": {"width": 1}, "more": [{"width": 2}]}
        assert await engine.run(module.cut, values) == [2, 4]


@pytest.mark.asyncio
async def test_steps_of_a_function_with_unknown_names_run_in_workers():
    here = types.ModuleType("nowhere")
    source = textwrap.indent(textwrap.dedent(SOURCE), "    ")
    exec(f"def make():\n{source}\n    return cut", vars(here))
    async with Engine(processes=1) as engine:
        assert await engine.run(here.make(), {"size": {"width": 1}}) == [2]
