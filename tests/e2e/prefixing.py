"""A proxy on this machine that has a service under a path, as an ingress controller would. It passes on every
byte as it comes, since the page is told of its job's progress in one long answer.
"""

import contextlib
import http.client
import http.server
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

#: Of one connection, not of the message.
_OWN = {"connection", "transfer-encoding", "keep-alive"}


@contextlib.contextmanager
def prefixed(url: str, prefix: str, *, strip: bool) -> Iterator[str]:
    """The address under which the proxy has the service of `url`: below the prefix (`/a/b`) alone, which the
    service is told of or not (`strip`)."""
    target = urlsplit(url).netloc

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not (self.path + "/").startswith(prefix + "/"):
                self.send_error(404)
                return
            path = self.path.removeprefix(prefix) or "/" if strip else self.path
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _OWN}
            upstream = http.client.HTTPConnection(target, timeout=300)
            with contextlib.closing(upstream):
                upstream.request(self.command, path, body or None, headers)
                self._pass_on(upstream.getresponse())

        do_POST = do_DELETE = do_HEAD = do_GET

        def _pass_on(self, answer: http.client.HTTPResponse) -> None:
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in _OWN:
                    self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                while part := answer.read1(65536):
                    self.wfile.write(part)
                    self.wfile.flush()

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}{prefix}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
