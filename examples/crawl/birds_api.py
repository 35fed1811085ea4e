"""A web API to crawl: pages of birds, and each bird by itself. Runs in a thread of the caller.

It is busy now and then: the first request for some birds is answered with 429 and Retry-After.
"""

import json
import threading
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

COUNT, PER_PAGE = 60, 20
asked: set[str] = set()


class Api(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps connections open

    def do_GET(self):
        url = urlsplit(self.path)
        number = int(url.path.rpartition("/")[2] or 0) if "/birds/" in url.path else None
        if number is None:
            first = int(parse_qs(url.query).get("after", ["0"])[0])
            birds = list(range(first, min(first + PER_PAGE, COUNT)))
            more = birds[-1] + 1 if birds and birds[-1] + 1 < COUNT else None
            self.answer(200, {"birds": birds, "next": more})
        elif number % 10 == 3 and self.path not in asked:
            asked.add(self.path)
            self.answer(429, {}, {"Retry-After": "0.05"})
        elif number == 42:
            self.answer(404, {})
        else:
            self.answer(200, {"id": number, "name": f"bird {number}", "wings": 2})

    def answer(self, status, body, headers=()):
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {**dict(headers), "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@cache
def started() -> str:
    """The URL of the API, which is started at the first call."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"
