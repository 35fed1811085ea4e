"""The editor in which the dashboard opens lines of code."""

from __future__ import annotations

import re

from lokki.errors import ConfigError

_KNOWN = {
    "vscode": "vscode://file{file}:{line}",
    "vscodium": "vscodium://file{file}:{line}",
    "cursor": "cursor://file{file}:{line}",
    "zed": "zed://file{file}:{line}",
    "pycharm": "pycharm://open?file={file}&line={line}",
    "idea": "idea://open?file={file}&line={line}",
}
_TEMPLATE = re.compile(r"(?!javascript:|data:|vbscript:)[a-z][a-z0-9+.-]*:.*\{file\}.*", re.I)


def template_of(editor: str | None) -> str | None:
    """The URL of `dashboard.editor`, with ``{file}`` and ``{line}``. Raises ConfigError."""
    if editor is None:
        return None
    template = _KNOWN.get(editor.lower(), editor)
    if not _TEMPLATE.fullmatch(template):
        raise ConfigError(
            f"dashboard.editor is '{editor}': write one of {', '.join(_KNOWN)}, or a URL with "
            "{file} and {line}, such as " + _KNOWN["vscode"]
        )
    return template
