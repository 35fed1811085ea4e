"""Pictures and tables: what steps show with ``lokki.show``, beside what they return.

Makes a year of temperatures for some weather stations; shows a chart and a table of each, and a
report at the end. Nothing but Python is needed: a chart is a few lines of SVG. A figure of
matplotlib or a DataFrame of pandas is shown in the same way.

    python examples/stations.py run --count 3
    python examples/stations.py show last               # lists what was shown
    python examples/stations.py show last --save charts
    lokki serve examples                                # shows it on the run's page
"""

import random
from math import cos, pi

import lokki
from lokki import flow, main, step

MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


@step
def stations(count: int):
    return [f"station {number}" for number in range(1, count + 1)]


@step
def measured(name: str):
    """A year of daily temperatures, shown by month and as a chart."""
    dice = random.Random(name)
    mean, range_ = dice.uniform(-5, 20), dice.uniform(5, 15)
    days = [mean - range_ * cos(2 * pi * (day - 20) / 365) + dice.gauss(0, 2) for day in range(365)]
    lokki.show(chart(days), f"{name}, day by day")
    months = [days[start : start + 30] for start in range(0, 360, 30)]
    table = [
        {"month": month, "lowest": min(each), "highest": max(each)}
        for month, each in zip(MONTHS, months, strict=True)
    ]
    lokki.show(table, f"{name}, month by month")
    return name, sum(days) / len(days)


def chart(days: list[float]) -> str:
    """A line as SVG."""
    top, bottom = max(days), min(days)
    points = " ".join(
        f"{2 * day},{10 + 180 * (top - degrees) / (top - bottom):.1f}"
        for day, degrees in enumerate(days)
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" width="760" height="200">'
        f'<polyline points="{points}" fill="none" stroke="#0b6678"/>'
        f'<text x="735" y="20" font-size="12">{top:.0f}°</text>'
        f'<text x="735" y="190" font-size="12">{bottom:.0f}°</text></svg>'
    )


@step
def report(means: list[tuple[str, float]]):
    name, degrees = max(means, key=lambda each: each[1])
    lines = [f"- {name}: {mean:.1f} °C" for name, mean in means]
    lokki.show("\n".join([f"The warmest is **{name}**.", "", *lines]), "Means of the year")
    return f"{name} is the warmest: {degrees:.1f} °C"


@flow
def climate(count: int = 3):
    return stations().map(measured).agg(report)


if __name__ == "__main__":
    main(climate)
