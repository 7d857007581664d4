"""A real HTTP server on this machine that misbehaves as told, for tests of everything that talks to services."""

import json
import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

CLOSE = "close"  # answer: the connection is closed without a word


class Asked(NamedTuple):
    """A request as it arrived; `body` is parsed JSON, or None."""

    method: str
    path: str
    headers: dict
    body: object


class Answer(NamedTuple):
    """body: bytes, or an object sent as JSON. wait: seconds before the answer; drip: seconds before each byte of it."""

    status: int = 200
    body: object = b""
    headers: dict = {}
    wait: float = 0.0
    drip: float = 0.0


class LocalServer:
    """`answer(asked) -> Answer | CLOSE` decides; `asked` lists what came in. Use it as a context manager."""

    def __init__(self, answer):
        self.asked: list[Asked] = []
        self.broken: list[BaseException] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                length = int(self.headers.get("content-length", 0))
                body = json.loads(self.rfile.read(length)) if length else None
                headers = {name.lower(): value for name, value in self.headers.items()}
                asked = Asked(self.command, self.path, headers, body)
                server.asked.append(asked)
                reply = answer(asked)
                if reply == CLOSE:
                    self.close_connection = True
                    return
                time.sleep(reply.wait)
                data = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
                try:
                    self.send_response(reply.status)
                    for name, value in {"content-length": str(len(data)), **reply.headers}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    if self.command == "HEAD":
                        return
                    for i in range(len(data)) if reply.drip else ():
                        time.sleep(reply.drip)
                        self.wfile.write(data[i : i + 1])
                    if not reply.drip:
                        self.wfile.write(data)
                except OSError:  # the client has given up
                    self.close_connection = True

            do_POST = do_HEAD = do_GET

            def log_message(self, *arguments):
                return

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, request, client_address):
                error = sys.exception()
                if not isinstance(error, OSError):  # the client has given up
                    server.broken.append(error)

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def secure(self, context: ssl.SSLContext) -> None:
        """Answer by TLS from now on; called before the server starts."""
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exception):
        self._server.shutdown()
        self._server.server_close()
        assert not self.broken, f"the test's own server failed: {self.broken[0]!r}"


def in_turn(*answers):
    """An `answer` that gives these one after the other, the last one for ever."""
    left = list(answers)
    lock = threading.Lock()

    def answer(asked):
        with lock:
            return left.pop(0) if len(left) > 1 else left[0]

    return answer
