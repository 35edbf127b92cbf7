"""A plugin that answers, but not what the contract demands: it speaks a later version."""

import json
import os
import socketserver
from http.server import BaseHTTPRequestHandler
from pathlib import Path


class Door(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"status": "ok"} if self.path == "/healthz" else {"contract": 99}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "a socket"


socket = Path(os.environ["SD_PLUGIN_SOCKET"])
socket.unlink(missing_ok=True)
with socketserver.ThreadingUnixStreamServer(str(socket), Door) as server:
    server.serve_forever()
