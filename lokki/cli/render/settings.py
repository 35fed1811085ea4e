"""The settings and where they come from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rich.text import Text

from lokki.cli.render.console import WIDE, stdout_console


def show_config(settings: Mapping[str, Mapping[str, Any]]) -> None:
    """Print settings and where they came from; each entry of a table has its own line."""
    rows = [("key", "value", "from")]
    for name, each in settings.items():
        value, origin = each["value"], each["from"]
        if isinstance(origin, dict):
            entries = [(f"{name}.{entry}", value[entry], origin[entry]) for entry in origin]
            rows += entries or [(name, "{}", "default")]
        else:
            shown = "" if value is None else json.dumps(value, ensure_ascii=False)
            rows.append((name, shown, origin))
    widths = [min(max(len(row[column]) for row in rows), WIDE // 3) for column in (0, 1)]
    for row in rows:
        line = f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]}"
        stdout_console().print(Text(line, style="bold" if row is rows[0] else ""), soft_wrap=True)
