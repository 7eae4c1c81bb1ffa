"""Groups in a real Valkey, whose members' time a test can let pass."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis import Redis

from partitioning import PartitionCoordinator
from partitioning.redis import RedisGroupStore

GROUP = "alarm-evaluators"


class FakeClock:
    """A boot-time clock that a test moves."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


class Groups:
    """Makes members with long leases, and ends leases and hold-downs at will."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client: Redis = Redis.from_url(url, decode_responses=True)
        self._made: list[PartitionCoordinator] = []

    def member(self, name: str | bytes | None, *groups: str, **options: Any) -> PartitionCoordinator:
        """A started member without a thread; nothing happens unless the test says so."""
        store = RedisGroupStore(self.url, restart_grace=0)
        settings = {"store": store, "lease": 600.0, "hold_down": 0.0, "retry_wait": 0.0, **options}
        coordinator = PartitionCoordinator(self.url, name, **settings)
        self._made.append(coordinator)
        coordinator.start(background=False)
        for group in groups:
            coordinator.join_group(group)
        return coordinator

    def end_lease(self, name: str) -> None:
        """Let the time pass until the server believes in a member no more."""
        self._rewrite(name, 0)

    def end_hold_down(self, name: str) -> None:
        """Let the time pass until a newcomer counts."""
        self._rewrite(name, 1)

    def be_silent(self, name: str, seconds: float) -> None:
        """Let a member not have beaten for so long."""
        ends = float(self.client.hget(f"fleetring:group:{{{GROUP}}}:members", name).split()[0])  # type: ignore[union-attr]
        self._rewrite(name, 0, f"{ends - seconds * 1e6:.0f}")

    def _rewrite(self, name: str, field: int, value: str = "1") -> None:
        key = f"fleetring:group:{{{GROUP}}}:members"
        record: Any = self.client.hget(key, name)
        if record:
            fields = record.split()
            fields[field] = value
            self.client.hset(key, name, " ".join(fields))

    def close(self) -> None:
        for coordinator in self._made:
            coordinator.stop()
        self.client.close()


@pytest.fixture
def groups(valkey_url: str) -> Iterator[Groups]:
    """Groups that are empty at first."""
    made = Groups(valkey_url)
    yield made
    made.close()


@pytest.fixture
def clock() -> Callable[[], float]:
    """A clock that stands still."""
    return FakeClock()
