"""What steps have shown, in the journal."""

from __future__ import annotations

import pytest

from lokki.errors import AttachmentNotFound
from lokki.model.attachment import MARKDOWN, Shown, packed
from lokki.store.attachments import Attachments


def value(text: str, number: int = 0, *, attempt: int = 1, item: int | None = 3) -> Shown:
    content = text.encode()
    title = f"{text} \0 \ud800"
    data = packed(content, MARKDOWN)
    return Shown("b", item, attempt, number, 2.0, title, MARKDOWN, len(content), data)


def test_values_come_in_the_order_in_which_they_were_shown(record):
    record.run("r1")
    record.run("r2")
    record.shown("r1", value("one"), value("two", 1), value("task", item=None))
    record.shown("r2", value("other"))
    found = Attachments(record.journal.read)
    names = ["b.3.1.0", "b.3.1.1", "b.-.1.0"]
    assert [each.name for each in found.page("r1", limit=9)] == names
    assert [each.name for each in found.page("r1", after=names[0], limit=1)] == [names[1]]
    assert [each.name for each in found.page("r1", item=3, step="b", limit=9)] == names[:2]
    assert found.page("r1", step="c", limit=9) == []
    assert found.total("r1")[0] == 3
    about, content = found.content("r1", "b.3.1.1")
    assert (about.title, content) == ("two \0 \\ud800", b"two")
    with pytest.raises(AttachmentNotFound, match="r1 has shown nothing named"):
        found.content("r1", "b.4.1.0")


def test_an_attempt_that_runs_again_replaces_what_it_had_shown(record):
    record.run("r1")
    record.shown("r1", value("one"), value("two", 1))
    record.shown("r1", value("again"), value("second attempt", attempt=2))
    found = Attachments(record.journal.read)
    texts = [found.content("r1", each.name)[1] for each in found.page("r1", limit=9)]
    assert texts == [b"again", b"two", b"second attempt"]


def test_they_go_with_their_run(record):
    record.run("r1")
    record.shown("r1", value("one"))
    record.journal.remove("r1").result()
    assert Attachments(record.journal.read).page("r1", limit=9) == []
