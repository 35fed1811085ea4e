"""Values of the model that another version of lokki has written."""

from __future__ import annotations

import pytest

from lokki.model.failure import Error
from lokki.model.reading import read
from lokki.model.structure import StageStructure, dumped, loaded, stage


def test_fields_of_a_newer_version_are_left_out():
    newer = {"type": "ValueError", "message": "no", "step": "crunch", "severity": "high"}
    assert read(Error, newer) == Error(type="ValueError", message="no", step="crunch")


def test_what_is_no_such_value_is_refused():
    with pytest.raises(ValueError, match="message"):
        read(Error, {"type": "ValueError"})


def test_a_structure_that_is_changed_changes_no_other():
    text = dumped([stage("task", ["numbers"]), stage("map", ["crunch", "pack"])])
    loaded(text).pop()
    assert loaded(text) == [
        StageStructure(name="numbers", kind="task", steps=["numbers"]),
        StageStructure(name="crunch", kind="map", steps=["crunch", "pack"]),
    ]
