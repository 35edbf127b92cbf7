"""A fast file server on loopback, for downloads to be measured against: `python -m benchmarks.fileserver`.

Serves one safetensors checkpoint of any size under every path, whole or by ranges, with the headers of
Hugging Face's hub. Its tensors repeat a block that lies in the page cache, and sendfile hands it to the
socket, so that the server costs little and needs no disk. Counts what arrived: GET /delivered.
"""

import argparse
import contextlib
import json
import os
import re
import socket
import struct
import tempfile
import threading

#: No multiple of the size of any part, so that no two parts of a file are alike.
BLOCK_BYTES = 61 * 1021 * 1021
REVISION = "a" * 40
#: Where TCP_INFO has the bytes that were acknowledged (linux/tcp.h: tcpi_bytes_acked).
ACKED = struct.Struct("=120xQ")

SHAPES = {
    "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": [320, 768],
    "first_stage_model.encoder.conv_in.weight": [128, 3, 3, 3],
    "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight": [49408, 768],
}


class Served:
    """The bytes of the file, and how many of them arrived."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.header = _header(size)
        with tempfile.TemporaryFile() as block:
            block.write(os.urandom(BLOCK_BYTES))
            block.flush()
            self.block = os.dup(block.fileno())
        self._lock = threading.Lock()
        self._delivered = 0

    def count(self, delivered: int) -> None:
        """Of a connection that has ended."""
        with self._lock:
            self._delivered += delivered

    def delivered(self) -> int:
        with self._lock:
            return self._delivered

    def send(self, connection: socket.socket, start: int, end: int) -> None:
        """These bytes of the file."""
        if start < len(self.header):
            connection.sendall(self.header[start:end])
            start = len(self.header)
        while start < end:
            offset = (start - len(self.header)) % BLOCK_BYTES
            start += os.sendfile(
                connection.fileno(), self.block, offset, min(end - start, BLOCK_BYTES - offset)
            )


def _header(size: int) -> bytes:
    """What the file begins with; one last tensor makes it as long as was asked for."""
    document, position = {}, 0
    for name, shape in SHAPES.items():
        length = 2
        for side in shape:
            length *= side
        document[name] = {"dtype": "F16", "shape": shape, "data_offsets": [position, position + length]}
        position += length
    # Digits are not known before the length is, so the header is filled up with the spaces that JSON allows.
    room = 4096
    rest = size - 8 - room - position
    if rest < 0:
        raise SystemExit(f"a checkpoint has at least {size - rest} bytes")
    document["padding"] = {"dtype": "U8", "shape": [rest], "data_offsets": [position, position + rest]}
    raw = json.dumps(document).encode().ljust(room)
    return struct.pack("<Q", len(raw)) + raw


class Client:
    """One connection, until its other end goes."""

    def __init__(self, connection: socket.socket, served: Served) -> None:
        self._connection = connection
        self._served = served
        self._heads = 0  # bytes sent that are none of the file's

    def run(self) -> None:
        pending = b""
        with self._connection:
            # Clients that are killed are what some measurements are about.
            with contextlib.suppress(OSError):
                while received := self._connection.recv(65536):
                    pending += received
                    while (end := pending.find(b"\r\n\r\n")) >= 0:
                        self._respond(pending[:end])
                        pending = pending[end + 4 :]
            with contextlib.suppress(OSError):
                info = self._connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, ACKED.size)
                self._served.count(max(0, ACKED.unpack(info)[0] - self._heads))

    def _respond(self, head: bytes) -> None:
        method, path, _ = head.split(b"\r\n", 1)[0].split(b" ", 2)
        if path == b"/delivered":
            body = json.dumps({"delivered": self._served.delivered()}).encode()
            self._send_head("200 OK", f"Content-Length: {len(body)}")
            self._send(body)
            return
        found = re.search(rb"(?i)\r\nrange: *bytes=(\d+)-(\d*)", head)
        start, end, size = 0, self._served.size, self._served.size
        if found:
            start, end = int(found[1]), min(end, int(found[2]) + 1) if found[2] else end
        self._send_head(
            "206 Partial Content" if found else "200 OK",
            f"Content-Length: {end - start}",
            'ETag: "one"',
            "Accept-Ranges: bytes",
            f"X-Repo-Commit: {REVISION}",
            *((f"Content-Range: bytes {start}-{end - 1}/{size}",) if found else ()),
        )
        if method != b"HEAD":
            self._served.send(self._connection, start, end)

    def _send_head(self, status: str, *lines: str) -> None:
        self._send("\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode())

    def _send(self, content: bytes) -> None:
        self._connection.sendall(content)
        self._heads += len(content)


def main() -> None:
    """The command line; prints the address when it can be asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--size", type=int, required=True, help="bytes of the file")
    served = Served(parser.parse_args().size)
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=Client(connection, served).run, daemon=True).start()


if __name__ == "__main__":
    main()
