"""An AWS for development, until a signal ends it: ``python -m lokki.rehearse``."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import click

from lokki.builder.image_pkg import ENTRYPOINT
from lokki.errors import LokkiError
from lokki.rehearse import check_installed
from lokki.rehearse.environment import runtime_python
from lokki.rehearse.images import assembled
from lokki.rehearse.moto_patches.platform import Image


@click.command()
@click.option("--host", default="127.0.0.1", help="Where to listen.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), default=5000, help="[default: 5000]")
@click.option(
    "--image",
    "images",
    multiple=True,
    metavar="URI=FOLDER",
    help="An image, such as lokki:latest=lokki-build, with the files of that build, since there is "
    "no container engine here. May be repeated.",
)
def main(host: str, port: int, images: tuple[str, ...]) -> None:
    """Serve an AWS for development: set aws.endpoint to its URL.

    State machines, functions and jobs of flows run as processes on this machine. There are no
    passwords, and everything is forgotten at the end.
    """
    done = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: done.set())
    try:
        check_installed()
        from lokki.rehearse.moto_patches.server import serving

        with serving(str(runtime_python()), host=host, port=port) as platform:
            for position, each in enumerate(images):
                uri, equals, folder = each.partition("=")
                if not equals:
                    raise click.UsageError(f"--image: '{each}' is not of the form URI=FOLDER")
                files = assembled(
                    Path(folder), Path(folder, "rehearsal-image", f"served-{position}")
                )
                platform.images[uri] = Image(files, ENTRYPOINT)
            click.echo(f"lokki serves an AWS for development: {platform.endpoint}", err=True)
            done.wait()
    except (LokkiError, OSError) as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main(prog_name="python -m lokki.rehearse")
