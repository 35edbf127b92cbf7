"""How much of one thing all requests together may hold, whatever the thing is: bytes, pixels."""

import asyncio
from collections import deque
from contextlib import suppress


class Budget:
    """An amount that is taken and given back. Who finds too little left waits for it, in order of coming, but
    not longer than `patience` seconds. For one event loop."""

    def __init__(self, most: int, *, patience: float) -> None:
        self.most = most
        self._patience = patience
        self._left = most
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def held(self) -> int:
        """What is taken now."""
        return self.most - self._left

    async def take(self, amount: int) -> bool:
        """Whether so much was taken; False: it did not become free in time."""
        if not self._waiting and amount <= self._left:
            self._left -= amount
            return True
        if amount > self.most:
            return False
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        place = (amount, turn)
        self._waiting.append(place)
        try:
            await asyncio.wait([turn], timeout=self._patience)
        except asyncio.CancelledError:
            if turn.done():
                self.give_back(amount)
            raise
        finally:
            with suppress(ValueError):
                self._waiting.remove(place)
            self._let_in()
        return turn.done()

    def give_back(self, amount: int) -> None:
        """So much is not held any more."""
        self._left += amount
        self._let_in()

    def _let_in(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._left:
            amount, turn = self._waiting.popleft()
            self._left -= amount
            turn.set_result(None)
