"""A stand-in for a language model's API: answers `/v1/chat/completions` by looking for words.

It misbehaves like a real one: now and then it is busy (429), or answers with no JSON.
"""

import json
import threading
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

GOOD, BAD = ("lovely", "great", "love"), ("late", "terrible", "broken")
asked: dict[str, int] = {}


class Api(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = request["messages"][-1]["content"]
        asked[text] = asked.get(text, 0) + 1
        if asked[text] == 1 and len(text) % 7 == 0:
            self.answer(429, {"error": {"message": "rate limit reached"}})
            return
        words = text.lower()
        mood = "good" if any(each in words for each in GOOD) else "neutral"
        mood = "bad" if any(each in words for each in BAD) else mood
        said = "I would rather not say." if "swears" in words else json.dumps({"mood": mood})
        usage = {"total_tokens": len(text.split()) + 5}
        self.answer(200, {"choices": [{"message": {"content": said}}], "usage": usage})

    def answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        if status == 429:
            self.send_header("Retry-After", "0.05")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@cache
def started() -> str:
    """The URL of the API, which is started at the first call."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/v1"
