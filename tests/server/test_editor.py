"""The URL that opens a line of code in the reader's editor."""

from __future__ import annotations

import pytest
from lokki_server.editor import template_of

from lokki.errors import ConfigError


@pytest.mark.parametrize(
    ("editor", "template"),
    [
        (None, None),
        ("vscode", "vscode://file{file}:{line}"),
        ("PyCharm", "pycharm://open?file={file}&line={line}"),
        (
            "emacs://open?url=file://{file}&line={line}",
            "emacs://open?url=file://{file}&line={line}",
        ),
    ],
)
def test_an_editor_is_known_or_a_url(editor, template):
    assert template_of(editor) == template


@pytest.mark.parametrize("editor", ["ed", "vscode://file", "{file}", "JavaScript:open('{file}')"])
def test_another_is_refused(editor):
    with pytest.raises(ConfigError, match=r"dashboard\.editor is .* write one of vscode,"):
        template_of(editor)
