"""An S3 in a process of its own, which counts what it is asked: ``python s3_server.py PORT``.

``GET /bench-requests`` tells the number of requests to S3 since it was asked last.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable
from threading import Lock
from typing import Any

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple


class Counting:
    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self._app = app
        self._count = 0
        self._lock = Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        with self._lock:
            if environ["PATH_INFO"] == "/bench-requests":
                told, self._count = str(self._count), 0
                start_response("200 OK", [("Content-Length", str(len(told)))])
                return [told.encode()]
            self._count += 1
        return self._app(environ, start_response)


if __name__ == "__main__":
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app = Counting(DomainDispatcherApplication(create_backend_app))
    run_simple("127.0.0.1", int(sys.argv[1]), app, threaded=True)
