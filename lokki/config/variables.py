"""Environment variables whose names look like those of the configuration."""

from __future__ import annotations

import os

from lokki.config.keys import KEYS

_NO_SETTINGS = {
    "LOKKI_SERVER_TOKEN", "LOKKI_FLOW_NAME", "LOKKI_STEP_NAME", "LOKKI_MODULE_NAME",
    "LOKKI_EVENT", "LOKKI_REDRIVEN",
}  # fmt: skip
"""Variables of lokki that set no key."""
_SECRET = "LOKKI_SECRET_"  # noqa: S105 - what the names of variables begin with


def unknown_variables() -> list[str]:
    """A line for each unknown variable whose name looks like one of lokki's.

    It suggests what was meant, without the value, which may be secret.
    """
    known = {variable for key in KEYS.values() for variable in key.variables} | _NO_SETTINGS
    return [
        f"the variable {name} is unknown; {_meant(name, known)}"
        for name, text in sorted(os.environ.items())
        if name.startswith("LOKKI_") and text and name not in known and not name.startswith(_SECRET)
    ]


def _meant(name: str, known: set[str]) -> str:
    import difflib

    wanted = name.removeprefix("LOKKI_")
    secret = _SECRET + (wanted.partition("_")[2] or "<NAME>")
    names = {each.removeprefix("LOKKI_"): each for each in sorted(known | {secret})}
    ending = [each for each in names if each.endswith(f"_{wanted}")]
    for near in (*ending[:1], *difflib.get_close_matches(wanted, names, 1)):
        return f"did you mean {names[near]}?"
    return "LOKKI_<SECTION>_<KEY> sets a key, and `lokki config` lists the keys"
