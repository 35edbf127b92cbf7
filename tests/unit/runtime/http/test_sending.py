"""Answers to those who do not take them."""

import asyncio
import socket
from contextlib import asynccontextmanager

from starlette.responses import StreamingResponse

from sd_runtime import serving

#: More than the system keeps of a connection.
PIECE, PIECES = b"x" * 65536, 400
IDLE_SECONDS = 1


class Endings:
    """Answers at length; `ended` is set when an answer is no longer being sent."""

    def __init__(self):
        self.begun = asyncio.Event()
        self.ended = asyncio.Event()

    async def __call__(self, scope, receive, send):
        self.begun.set()
        try:
            await StreamingResponse(self._pieces())(scope, receive, send)
        finally:
            self.ended.set()

    @staticmethod
    async def _pieces():
        for _ in range(PIECES):
            yield PIECE


async def in_one_piece(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": PIECE * PIECES})


@asynccontextmanager
async def served(app, until):
    server = serving.server(app, host="127.0.0.1", port=0, idle_seconds=IDLE_SECONDS)
    (listening,) = sockets = await server.bind()
    running = asyncio.create_task(server.serve(sockets))
    await until(lambda: server.started)
    client = socket.create_connection(listening.getsockname())
    client.setblocking(False)
    with client:
        client.send(b"GET / HTTP/1.1\r\nHost: sd\r\n\r\n")
        yield server, client
    server.should_exit = True
    await running


async def test_a_client_that_takes_nothing_of_its_answer_is_let_go_of(until):
    app = Endings()
    async with served(app, until) as (server, _):
        await asyncio.wait_for(app.begun.wait(), 5)
        await asyncio.sleep(IDLE_SECONDS / 2)
        assert not app.ended.is_set()
        await asyncio.wait_for(app.ended.wait(), 10)
        await until(lambda: not server.server_state.connections)


async def test_so_is_one_whose_answer_is_one_piece(until):
    async with served(in_one_piece, until) as (server, _):
        await until(lambda: server.server_state.connections)
        await until(lambda: not server.server_state.connections)


async def test_a_client_that_takes_its_answer_slowly_gets_all_of_it(until):
    app = Endings()
    async with served(app, until) as (_, client):
        loop, taken = asyncio.get_running_loop(), 0
        began = loop.time()
        while taken < len(PIECE) * PIECES:
            taken += len(await asyncio.wait_for(loop.sock_recv(client, 1 << 20), 5))
            await asyncio.sleep(0.1)
        assert loop.time() - began > 2 * IDLE_SECONDS
