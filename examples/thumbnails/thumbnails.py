"""Make a thumbnail of each picture in a folder, in worker processes, and a sheet of all of them.

Pillow decodes and resizes on the CPU, so that each core has a process of its own. A picture that
cannot be read is tolerated, and named in the end. Without a folder of your own, pictures are drawn.
"""

import random
from pathlib import Path

from PIL import Image, ImageDraw

from lokki import current, flow, main, step

EDGE = 128
"""Pixels of the longer edge of a thumbnail."""


@step
def list_pictures(folder: Path, count: int):
    """The pictures in the folder; draws some if it is missing, the last of which is damaged."""
    if not folder.exists():
        folder.mkdir(parents=True)
        for number in range(count):
            draw(number).save(folder / f"{number:03}.png")
        damaged = folder / f"{count - 1:03}.png"
        damaged.write_bytes(damaged.read_bytes()[:100])
    return sorted(folder.glob("*.png"))


def draw(number: int) -> Image.Image:
    """A picture of circles, always the same one for a number."""
    dice = random.Random(number)
    picture = Image.new("RGB", (640, 480), tuple(dice.choices(range(200, 256), k=3)))
    pen = ImageDraw.Draw(picture)
    for _ in range(30):
        x, y, radius = dice.randrange(640), dice.randrange(480), dice.randrange(10, 80)
        colour = tuple(dice.choices(range(256), k=3))
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    return picture


@step(executor="process")
def thumbnail(picture: Path):
    """A smaller picture beside the original; its path."""
    small = picture.parent / "thumbnails" / f"{picture.stem}.jpg"
    small.parent.mkdir(exist_ok=True)
    with Image.open(picture) as image:
        image.thumbnail((EDGE, EDGE))
        image.convert("RGB").save(small)
    return small


@step
def sheet(thumbnails: list[Path], folder: Path):
    """All thumbnails in one picture, in rows of eight."""
    rows = -(-len(thumbnails) // 8)
    page = Image.new("RGB", (8 * EDGE, rows * EDGE), "white")
    for position, file in enumerate(thumbnails):
        row, column = divmod(position, 8)
        with Image.open(file) as small:
            page.paste(small, (column * EDGE, row * EDGE))
    page.save(folder / "thumbnails" / "sheet.jpg")
    unread = [f"{failure.index}: {failure.type}" for failure in current().failures]
    return f"{len(thumbnails)} thumbnails; not read: {unread}"


@flow
def thumbnails(folder: Path = Path("pictures"), count: int = 24):
    """Make thumbnails of pictures, of which one in ten may be damaged."""
    return list_pictures().map(thumbnail, tolerated_failures=0.1).agg(sheet)


if __name__ == "__main__":
    main(thumbnails)
