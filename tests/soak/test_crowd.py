"""Five hundred clients at once against a queue of 64: each gets a picture or is told to come again."""

import asyncio
import base64
import os
from collections import Counter
from pathlib import Path

import httpx

from benchmarks.table import provenance_of
from tests.soak.server import PICTURE, Server, serving
from tests.soak.telling import EVIDENCE

CLIENTS = 500
QUEUE = 64


async def _all_at_once(server: Server) -> Counter[int]:
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=server.address, limits=limits, timeout=300) as client:

        async def one(seed: int) -> int:
            answer = await client.post("/sdapi/v1/txt2img", json={**PICTURE, "seed": seed})
            if answer.status_code == 200:
                assert base64.b64decode(answer.json()["images"][0]).startswith(b"\x89PNG")
            else:
                assert int(answer.headers["Retry-After"]) >= 1
                assert set(answer.json()) == {"error", "detail", "body", "errors"}
            return answer.status_code

        return Counter(await asyncio.gather(*(one(seed) for seed in range(CLIENTS))))


def test_each_of_five_hundred_clients_gets_a_picture_or_is_told_to_come_again(tmp_path: Path) -> None:
    with serving(tmp_path, queue_limit=str(QUEUE)) as server:
        before = server.rss_mib()
        found = asyncio.run(_all_at_once(server))
        grown = server.rss_mib() - before
        told = f"{CLIENTS} clients at once, queue of {QUEUE}: {dict(found)}, {grown:+.0f} MiB"
        print(told)
        if os.environ.get("SOAK_EVIDENCE"):
            (EVIDENCE / "crowd.txt").write_text(f"{provenance_of(('runtime', 'modelfiles'))}\n\n{told}\n")
        assert set(found) <= {200, 429}
        assert sum(found.values()) == CLIENTS
        assert found[200] >= QUEUE
        assert len(server.picture()["images"]) == 1
