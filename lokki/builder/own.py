"""lokki itself, as installed in a flow's package."""

from __future__ import annotations

import json
from functools import cache
from importlib.metadata import Distribution, distribution
from io import BytesIO
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from lokki.builder.local import Wheel, wheel_of
from lokki.builder.needs import DISTRIBUTION

_PACKAGES = ("lokki", "lokki_server")
_ABOUT = ("METADATA", "WHEEL", "entry_points.txt", "LICENSE")
"""Files of a wheel's dist-info; an installation has more."""


def own_requirement(wheels: Path) -> str:
    """The requirement for this lokki, with its dependencies in Lambda.

    Unless it comes from a package index, a wheel of it is made in ``wheels``.
    """
    own = distribution(DISTRIBUTION)
    origin = own.read_text("direct_url.json")
    if origin is None:
        return f"{DISTRIBUTION}[aws]=={own.version}"
    origin_data = json.loads(origin)
    is_editable = origin_data.get("dir_info", {}).get("editable", False)
    checkout = Path(url2pathname(urlsplit(origin_data["url"]).path))
    return Wheel(*(_built(checkout) if is_editable else _packed(own)), "[aws]").put(wheels)


_built = cache(wheel_of)


def _packed(own: Distribution) -> tuple[str, bytes]:
    """Name and bytes of a wheel of the installed files: their origin may be gone."""
    stem = f"{DISTRIBUTION.replace('-', '_')}-{own.version}"
    info = f"{stem}.dist-info"
    kept = [
        file
        for file in own.files or ()
        if (file.parts[0] in _PACKAGES and file.suffix != ".pyc")
        or (file.parts[0] == info and file.name in _ABOUT)
    ]
    record = [
        f"{each},{each.hash.mode}={each.hash.value},{each.size}" for each in kept if each.hash
    ]
    contents = [(file.as_posix(), file.read_binary()) for file in kept]
    listed = "\n".join([*record, f"{info}/RECORD,,", ""]).encode()
    wheel = BytesIO()
    with ZipFile(wheel, "w", ZIP_DEFLATED) as archive:
        for name, content in [*contents, (f"{info}/RECORD", listed)]:
            archive.writestr(ZipInfo(name), content, ZIP_DEFLATED)
    return f"{stem}-py3-none-any.whl", wheel.getvalue()
