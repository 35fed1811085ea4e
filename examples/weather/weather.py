"""A weather report of some stations, every morning: fetch, check, summarize, write.

The readings are made up here, the same ones for the same day; a flow of your own would ask a
weather service. Broken sensors are left out, and a station without readings is reported.
"""

import random
from datetime import date
from statistics import fmean

from lokki import flow, main, step

STATIONS = {
    "Helsinki": 6.5,
    "Jyväskylä": 4.3,
    "Oulu": 3.3,
    "Rovaniemi": 1.6,
    "Sodankylä": 0.3,
    "Turku": 6.3,
}
"""Stations and their mean temperature of a year."""
SEASON = [-10, -10, -6, 0, 6, 11, 13, 11, 6, 1, -4, -8]


@step
def list_stations():
    return list(STATIONS)


@step(retry={"retries": 3, "delay": 1, "exceptions": (ConnectionError,)}, timeout_seconds=60)
def fetch(station: str, day: str):
    """The hourly readings of a station."""
    dice = random.Random(f"{station} {day}")
    mean = STATIONS[station] + SEASON[date.fromisoformat(day).month - 1]
    for hour in range(24):
        broken = dice.random() < 0.05
        temperature = 999.9 if broken else mean - 4 + 8 * (hour in range(9, 19)) + dice.gauss(0, 1)
        yield {"hour": hour, "temperature": temperature, "wind": dice.uniform(0, 14)}


@step
def check(readings: list[dict]):
    """Without what a sensor cannot have measured. Raises ValueError if little is left."""
    good = [each for each in readings if -60 < each["temperature"] < 45]
    if len(good) < 12:
        raise ValueError(f"only {len(good)} of {len(readings)} readings are plausible")
    return good


@step
def summarize(readings: list[dict]):
    temperatures = [each["temperature"] for each in readings]
    return {
        "low": min(temperatures),
        "high": max(temperatures),
        "mean": fmean(temperatures),
        "wind": max(each["wind"] for each in readings),
        "readings": len(readings),
    }


@step
def report(summaries: list[dict], day: str):
    """A table in Markdown, the warmest station first."""
    rows = sorted(zip(STATIONS, summaries, strict=True), key=lambda row: -row[1]["mean"])
    lines = [
        f"# Weather of {day}",
        "",
        "| station | low | high | mean | wind |",
        "|---|--:|--:|--:|--:|",
    ]
    for station, each in rows:
        numbers = (f"{each[name]:.1f}" for name in ("low", "high", "mean", "wind"))
        lines.append(f"| {station} | {' | '.join(numbers)} |")
    return "\n".join(lines)


@flow(schedule="cron(0 6 * * ? *)", timezone="Europe/Helsinki")
def weather(day: str = "2026-02-03"):
    """The weather of a day at all stations."""
    return list_stations().map(fetch).next(check).next(summarize).agg(report)


if __name__ == "__main__":
    main(weather)
