"""Requests without a pause, from several clients, while something else happens."""

import threading
import time
import urllib.error
from dataclasses import dataclass, field
from typing import Any

from shapes import call


@dataclass
class Outcome:
    """What became of the requests."""

    answered: int = 0
    #: HTTP status → how often; 0: no connection
    refused: dict[int, int] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)
    without_retry_after: int = 0

    @property
    def failed(self) -> int:
        return sum(self.refused.values())


class Load:
    """`with Load(url, body):` asks for pictures until the block ends."""

    def __init__(self, url: str, body: dict[str, Any], *, clients: int = 4) -> None:
        self.outcome = Outcome()
        self._url, self._body = url, body
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(clients)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_answered(self, number: int, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while self.outcome.answered < number:
            assert time.monotonic() < deadline, self.outcome
            time.sleep(0.1)

    def _ask(self, number: int) -> None:
        turn = 0
        while not self._stop.is_set():
            turn += 1
            try:
                call(self._url, "/sdapi/v1/txt2img", {**self._body, "seed": 1000 * number + turn})
            except urllib.error.HTTPError as error:
                with error:
                    self._refused(error.code, str(error.read()), error.headers.get("Retry-After"))
            except OSError as error:
                self._refused(0, str(error), "")
            else:
                with self._lock:
                    self.outcome.answered += 1

    def _refused(self, status: int, words: str, retry_after: str | None) -> None:
        with self._lock:
            outcome = self.outcome
            outcome.refused[status] = outcome.refused.get(status, 0) + 1
            outcome.words = [*outcome.words, f"{status}: {words}"][-5:]
            outcome.without_retry_after += status == 503 and not retry_after
        time.sleep(0.2)
