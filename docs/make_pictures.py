"""Make the pictures of the dashboard in the docs: ``uv run python docs/make_pictures.py``.

They are of real runs, and need Chromium. Times differ each time: make them when the dashboard has
changed, and look at them.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from lokki import Client

HERE = Path(__file__).parent
LOKKI = Path(sys.executable).with_name("lokki")
COLOURS = 128
SETTLED_MS = 1_500
FLOW = '''
import random
import time

import lokki
from lokki import flow, step


@step
def stations(count: int):
    return [f"station-{number:04}" for number in range(count)]


@step
def read(station: str, year: int):
    time.sleep(0.002)
    number = int(station[-4:])
    if number % 211 == 7:
        raise ConnectionError(f"{station} does not answer")
    if number % 503 == 3:
        raise ValueError("a temperature of 999.9 °C")
    return random.Random(number).gauss(14, 4)


@step
def report(temperatures: list[float], year: int):
    coldest, warmest = min(temperatures), max(temperatures)
    counts = [0] * 12
    for each in temperatures:
        counts[min(11, int(12 * (each - coldest) / (warmest - coldest)))] += 1
    lokki.show(
        f"**{len(temperatures):,} stations** have reported for {year}, between "
        f"{coldest:.1f} and {warmest:.1f} °C.",
        "Summary",
    )
    bars = "".join(
        f'<rect x="{45 * at}" y="{160 - 150 * count / max(counts):.0f}" width="40" '
        f'height="{150 * count / max(counts):.0f}" fill="#2a9d8f"/>'
        for at, count in enumerate(counts)
    )
    lokki.show(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="540" height="160">{bars}</svg>',
        "Stations by temperature",
    )
    lokki.show(
        [
            {"from °C": round(coldest + at * (warmest - coldest) / 12, 1), "stations": count}
            for at, count in enumerate(counts)
        ],
        "The same as a table",
    )
    return round(sum(temperatures) / len(temperatures), 2)


@flow(tags=["nightly"])
def weather(year: int = 2026, count: int = 2000):
    """The mean temperature of all weather stations."""
    return stations().map(read, tolerated_failures=0.02).agg(report)


@flow
def strict(year: int = 2026, count: int = 2000):
    """The same, unless more than ten stations fail."""
    return stations().map(read, tolerated_failures=10).agg(report)
'''


@contextmanager
def served(folder: Path) -> Iterator[Client]:
    """A server of the flows, with a journal of its own."""
    (folder / "weather.py").write_text(FLOW)
    own = {"LOKKI_LOCAL_JOURNAL": str(folder / "lokki.db"), "HOME": str(folder)}
    environment = {name: value for name, value in os.environ.items() if "LOKKI" not in name} | own
    server = subprocess.Popen(
        [LOKKI, "serve", "weather.py", "--port", "0"],
        cwd=folder,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stderr is not None
        found = re.search(r"http://\S+", server.stderr.readline())
        assert found is not None
        yield Client(found[0])
    finally:
        server.terminate()
        server.wait()


def save(page: Page, name: str, selector: str | None = None) -> None:
    """A picture of a page, or of a part of it, with few colours."""
    page.wait_for_timeout(SETTLED_MS)
    file = HERE / name
    target = page if selector is None else page.locator(selector)
    target.screenshot(path=file)
    Image.open(file).convert("RGB").quantize(COLOURS).save(file, optimize=True)
    print(f"{name}: {file.stat().st_size // 1024} KiB")


def draw(client: Client, page: Page) -> None:
    done = client.start("weather")
    done.result()
    failed = client.start("strict", {"year": 2025})
    failed.wait()
    page.goto(f"{client.url}/ui/runs/{failed.id}")
    page.get_by_text("does not answer").first.wait_for()
    save(page, "dashboard-failed.png")
    page.goto(f"{client.url}/ui/runs/{done.id}")
    page.get_by_text("The same as a table").wait_for()
    save(page, "dashboard-shown.png", "section[aria-labelledby=shown]")


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server ends, too
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with (
        tempfile.TemporaryDirectory() as folder,
        served(Path(folder)) as client,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1100, "height": 1000}, reduced_motion="reduce")
        draw(client, page)
        browser.close()


if __name__ == "__main__":
    main()
