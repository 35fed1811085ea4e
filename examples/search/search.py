"""Search hyper-parameters: fit a model for each point of a grid, choose the best, draw them all.

The model is a polynomial with a penalty on its size (ridge regression), the data is made here.
"""

from itertools import product
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from lokki import flow, main, step

FOLDS = 5


@step
def grid(degrees: int):
    """The points to try: degrees from 1, and strengths of the penalty."""
    return list(product(range(1, degrees + 1), [0.001, 0.01, 0.1, 1.0]))


def samples(seed: int = 7):
    dice = np.random.default_rng(seed)
    x = dice.uniform(-1, 1, 120)
    return x, np.sin(4 * x) + dice.normal(0, 0.2, x.size)


@step(cache="7d")
def validate(point: tuple[int, float]):
    """The mean error of a point over folds that the fit has not seen."""
    degree, penalty = point
    x, y = samples()
    errors = []
    for fold in range(FOLDS):
        unseen = np.arange(x.size) % FOLDS == fold
        weights = fitted(x[~unseen], y[~unseen], degree, penalty)
        errors.append(np.mean((np.vander(x[unseen], degree + 1) @ weights - y[unseen]) ** 2))
    return {"degree": degree, "penalty": penalty, "error": float(np.mean(errors))}


def fitted(x, y, degree, penalty):
    basis = np.vander(x, degree + 1)
    return np.linalg.solve(basis.T @ basis + penalty * np.eye(degree + 1), basis.T @ y)


@step
def choose(points: list[dict]):
    return {"best": min(points, key=lambda point: point["error"]), "points": points}


@step
def draw(found: dict, plot: Path):
    """The errors as a picture, and the best point in words."""
    figure = Figure(figsize=(7, 4))  # not pyplot, which is made for one thread
    axes = figure.subplots()
    for penalty in sorted({point["penalty"] for point in found["points"]}):
        line = [point for point in found["points"] if point["penalty"] == penalty]
        axes.plot(
            [each["degree"] for each in line],
            [each["error"] for each in line],
            label=f"{penalty:g}",
        )
    best = found["best"]
    axes.plot(best["degree"], best["error"], "k*", markersize=12)
    axes.set(xlabel="degree", ylabel="mean squared error", yscale="log")
    axes.legend(title="penalty")
    figure.savefig(plot)
    return f"degree {best['degree']}, penalty {best['penalty']:g}: error {best['error']:.3f}"


@flow
def search(degrees: int = 12, plot: Path = Path("search.png")):
    """Find the degree and the penalty that predict best."""
    return grid().map(validate).agg(choose).next(draw)


if __name__ == "__main__":
    main(search)
