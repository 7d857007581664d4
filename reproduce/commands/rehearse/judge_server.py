"""An OpenAI-compatible endpoint on this machine that judges by equality of texts, in the place of a large model.

What a rehearsal needs of a judge is the protocol: the prompt of `reproduce.evaluation.judge` in, a reply with a verdict
and the model's name out.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from reproduce.evaluation.undress import plain_text


class JudgeServer:
    """model: the name that it answers under. `url` ends in /v1, `asked` counts requests. A context manager."""

    def __init__(self, model: str):
        self.model, self.asked = model, 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                outer.asked += 1
                request = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))))
                reply = outer.reply(request["messages"][-1]["content"])
                self._send(outer.completion(reply))

            def do_GET(self):
                self._send({"object": "list", "data": [{"id": outer.model, "object": "model"}]})

            def _send(self, found: dict):
                data = json.dumps(found).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *arguments):
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)

    def completion(self, text: str) -> dict:
        """A chat completion with one message."""
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return {"id": f"judge-{self.asked}", "object": "chat.completion", "model": self.model, "choices": [choice]}

    @staticmethod
    def reply(prompt: str) -> str:
        """The verdict for a prompt of `evaluation.judge`; for any other, a word."""
        fields = {}
        for line in prompt.splitlines():
            name, colon, value = line.partition(": ")
            if colon and name in ("Accepted answers", "Given answer"):
                fields[name] = json.loads(value)
        if len(fields) < 2:
            return "yes"
        right = plain_text(fields["Given answer"]) in {plain_text(gold) for gold in fields["Accepted answers"]}
        return f"The texts are {'equal' if right else 'not equal'}.\nVerdict: {'correct' if right else 'incorrect'}"

    def __enter__(self) -> "JudgeServer":
        self._thread.start()
        return self

    def __exit__(self, *exception) -> None:
        self._server.shutdown()
        self._server.server_close()
