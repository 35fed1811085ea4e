"""Checks of the flows that commands find."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lokki.cli.doctor.check import Check
from lokki.cli.offered import described_flows
from lokki.errors import LokkiError


def flows(sources: Sequence[str]) -> Iterator[Check]:
    """Whether each file with flows can be imported, in a process of its own."""
    try:
        found = described_flows(sources)
    except LokkiError as error:
        yield Check("flows", "error", str(error))
        return
    names = ", ".join(flow["name"] for each in found.values() for flow in each.get("flows", ()))
    if names or not any("error" in each for each in found.values()):
        yield Check(
            "flows", "ok", names or "none here: name their files, as in `lokki doctor birds.py`"
        )
    for file, each in found.items():
        if "error" in each:
            last = "".join(each["traceback"].splitlines()[-1:])
            what = f"{each['error']}: {last}" if last else each["error"]
            yield Check("flows", "error", what, f"see it with `lokki flows {file}`")
