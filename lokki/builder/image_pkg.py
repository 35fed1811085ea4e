"""The image of a flow, one for all its functions and jobs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lokki.builder.wheels import wheel_options
from lokki.config import Config

CODE = "code"
RUNTIME_CLIENT = "awslambdaric==4.2.2"
ENTRYPOINT = ("python", "-m", "lokki.runtime.container")
_BASE = "public.ecr.aws/lambda/python:{python}"
_UV = "ghcr.io/astral-sh/uv:0.9"


def image_uri(config: Config) -> str:
    """Where the image is pushed to and run from."""
    prefix = config.aws.ecr_repo_prefix
    return f"{prefix}/" * bool(prefix) + f"lokki:{config.lambda_.image_tag}"


def write_dockerfile(
    folder: Path, *, python: str, architecture: str, base: str | None = None
) -> Path:
    """Write the Dockerfile; its context is ``folder``, with requirements.txt and the code.

    AWS's base gets the wheels that a ZIP would have; one's own decides itself, and may build some.
    """
    file = folder / "Dockerfile"
    options = () if base else wheel_options(python, architecture)
    file.write_text(_dockerfile(base or _BASE.format(python=python), " ".join(options)), "utf-8")
    return file


def _dockerfile(base: str, options: str) -> str:
    return f"""\
# Made by `lokki build`: one image for every Lambda function and Batch job of the flow.
FROM {_UV} AS uv

FROM {base} AS dependencies
COPY --from=uv /uv /usr/local/bin/uv
WORKDIR /build
COPY . .
RUN uv pip install --quiet --no-cache --compile-bytecode --python "$(command -v python)" \\
    --requirement requirements.txt --overrides overrides.txt --target /dependencies {options}

FROM {base}
WORKDIR /var/task
COPY --from=dependencies /dependencies ./
COPY {CODE}/ ./
ENTRYPOINT {_list(ENTRYPOINT)}
CMD ["handler.handler"]
"""


def _list(command: Sequence[str]) -> str:
    return "[" + ", ".join(f'"{each}"' for each in command) + "]"
