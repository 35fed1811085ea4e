"""Work for the CPU: find where noisy DNA reads come from, in worker processes.

Shows a data set in files that the first step makes, the same ones for the same seed; a step in
worker processes, so that every core has work (``executor="process"``, as the interpreter's lock
lets one thread compute at a time); and an aggregation that counts.

    python examples/reads.py run --count 200
    python examples/reads.py run --count 200 --folder somewhere --processes 2
    python examples/reads.py show last
    python examples/reads.py resume last    # after Ctrl-C: aligns the reads that are left
"""

import random
from pathlib import Path

from lokki import flow, main, step

BASES = "ACGT"
LENGTH = 80


@step
def write_reads(folder: Path, count: int, seed: int):
    """Write a reference, and reads from known places in it with an error in ten bases."""
    dice = random.Random(seed)
    reference = "".join(dice.choices(BASES, k=1500))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "reference.txt").write_text(reference)
    for number in range(count):
        start = dice.randrange(len(reference) - LENGTH)
        read = [
            dice.choice(BASES) if dice.random() < 0.1 else base
            for base in reference[start : start + LENGTH]
        ]
        file = folder / f"{number}.txt"
        file.write_text(f"{start} {''.join(read)}")
        yield file


@step(executor="process")
def align(file: Path):
    """Smith and Waterman's local alignment: how far from its true place a read is put."""
    start, read = file.read_text().split()
    reference = (file.parent / "reference.txt").read_text()
    row, best, end = [0] * (len(reference) + 1), 0, 0
    for base in read:
        above, row = row, [0]
        for column, other in enumerate(reference):
            matched = above[column] + (2 if base == other else -1)
            score = max(0, matched, above[column + 1] - 2, row[column] - 2)
            row.append(score)
            if score > best:
                best, end = score, column + 1
    return abs(end - (int(start) + LENGTH))


@step
def report(distances: list[int]):
    near = sum(distance <= 5 for distance in distances)
    return f"{near} of {len(distances)} reads are where they belong"


@flow
def reads(count: int = 200, folder: Path = Path("reads"), seed: int = 1):
    """Align reads with the reference that they come from."""
    return write_reads().map(align).agg(report)


if __name__ == "__main__":
    main(reads)
