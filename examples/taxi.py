"""Statistics of taxi trips: the months of a year one beside the other, then the year as a whole.

Shows an inner chain, whose steps follow each other for each month by itself, flow parameters that
reach the steps which declare them, dataclasses as results, and a schedule. The trips are made up
here, the same ones for the same year; a flow of your own would read a file of the month.

    python examples/taxi.py run
    python examples/taxi.py run --year 2025 --trips 5000
    lokki rehearse examples/taxi.py                # the same result from Lambda functions
"""

import random
from calendar import month_name
from dataclasses import dataclass
from statistics import fmean, median

from lokki import flow, main, step


@dataclass
class Trip:
    miles: float
    minutes: float
    fare: float
    tip: float


@dataclass
class Month:
    trips: int
    miles: float
    fare: float
    tip_percent: float


@step
def list_months(year: int):
    return [f"{year}-{month:02}" for month in range(1, 13)]


@step
def read_trips(month: str, trips: int):
    """The trips of a month. Some meters were broken, as they are in real records."""
    dice = random.Random(month)
    for _ in range(trips):
        miles = dice.lognormvariate(0.8, 0.7)
        fare = -1.0 if dice.random() < 0.02 else 3.0 + 2.5 * miles
        yield Trip(miles, miles * dice.uniform(3, 9), fare, max(0.0, fare * dice.gauss(0.18, 0.1)))


@step
def clean(trips: list[Trip]):
    return [trip for trip in trips if trip.fare > 0 and trip.miles / trip.minutes < 1]


@step
def statistics(trips: list[Trip]):
    paid = sum(trip.fare for trip in trips)
    return Month(
        trips=len(trips),
        miles=fmean(trip.miles for trip in trips),
        fare=median(trip.fare for trip in trips),
        tip_percent=100 * sum(trip.tip for trip in trips) / paid,
    )


@step
def report(months: list[Month], year: int):
    """The months come in their order, whichever was done first."""
    trips, tips = sum(month.trips for month in months), [month.tip_percent for month in months]
    best = tips.index(max(tips))
    return (
        f"{year}: {trips:,} trips; the best tips were in {month_name[best + 1]}: {max(tips):.1f} %"
    )


@flow(schedule="cron(0 6 2 1 ? *)")
def taxi(year: int = 2025, trips: int = 1000):
    """Count a year's taxi trips, and find its month of the best tips."""
    return list_months().map(read_trips).next(clean).next(statistics).agg(report)


if __name__ == "__main__":
    main(taxi)
