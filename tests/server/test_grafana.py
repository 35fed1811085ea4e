"""The dashboard for Grafana asks for metrics that a server has."""

from __future__ import annotations

import json
import re
from pathlib import Path

from lokki.model.status import RunStatus

DASHBOARD = Path(__file__).parents[2] / "docs" / "grafana.json"


def test_each_panel_asks_for_metrics_and_statuses_that_there_are(place):
    place.write("flows.py")
    metrics = place.serve("flows.py").client.get("/metrics").text
    panels = json.loads(DASHBOARD.read_text())["panels"]
    asked = {panel["title"]: panel["targets"][0]["expr"] for panel in panels}
    assert len(asked) == len(panels)
    for title, expression in asked.items():
        for name in re.findall(r"lokki_\w+", expression):
            assert re.search(rf"^{name}[{{ ]", metrics, re.MULTILINE), (title, name)
        for statuses in re.findall(r'status=~?"([^"]+)"', expression):
            assert set(statuses.split("|")) <= set(map(str, RunStatus)), title
