"""A secret that is given away in every way: nobody finds it where AWS keeps what it is told."""

from __future__ import annotations

import importlib
import shutil
import sys

import planted
import pytest

WORD = "swordfish-1234"
ARN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:{}-AbCdEf"


@pytest.mark.timeout(200)
@pytest.mark.parametrize("name", ["planted", "planted_by_async", "planted_late"])
def test_a_rehearsal_tells_it_nowhere(name, rehearsal, tmp_path, monkeypatch):
    shutil.copy(planted.__file__, tmp_path / "given_away.py")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("LOKKI_SECRET_WORD", WORD)
    flows = importlib.import_module("given_away")
    try:
        settings = {"lambda.env": {"LOKKI_SECRET_WORD": ARN.format(name)}}
        done = rehearsal.run(getattr(flows, name)("not this one"), settings)
    finally:
        del sys.modules["given_away"]
    assert "***" in "\n".join(done.lines)
    assert WORD not in "\n".join(done.lines)
    assert WORD not in repr((done.status, done.error, done.cause, done.failures, done.states))
