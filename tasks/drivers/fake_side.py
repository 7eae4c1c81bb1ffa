"""The other side of the fake drivers: it takes its time, fails on demand, and remembers across processes."""

import fcntl
import json
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, TypeVar

from pydantic import Field, model_validator

from tasks.drivers.driver_info import DriverInfo
from tasks.drivers.errors import DriverRejected, DriverUnreachable

_T = TypeVar("_T")
_Seconds = Annotated[float, Field(ge=0)]


class FakeInfo(DriverInfo):
    """What the driver_info of every fake driver may hold.

    Attributes:
        delay: Seconds that each operation takes, or seconds by operation. Defaults to 0.
        fail: Operations that fail always, or probabilities (0 to 1) by operation. Defaults to none.
        fail_first: How many first calls of an operation fail, by operation. Defaults to none.
        unreachable: Every operation fails as if nothing stood at the address. Defaults to false.
        state_dir: A folder where the state is kept, so that all processes see it. Defaults to this process's memory.
        journal: A file that gets one JSON line at the begin and the end of each operation. Defaults to none.
    """

    operations: ClassVar[frozenset[str]] = frozenset()

    delay: _Seconds | dict[str, _Seconds] = 0.0
    fail: list[str] | dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(default_factory=list)
    fail_first: dict[str, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)
    unreachable: bool = False
    state_dir: Path | None = None
    journal: Path | None = None

    @model_validator(mode="after")
    def _knows_the_operations(self) -> Self:
        named = {*self.fail, *self.fail_first, *(self.delay if isinstance(self.delay, dict) else ())}
        if unknown := named - self.operations:
            raise ValueError(f"unknown operation {sorted(unknown)}; there are {sorted(self.operations)}")
        return self

    def seconds(self, operation: str) -> float:
        """How long the operation takes."""
        return self.delay.get(operation, 0.0) if isinstance(self.delay, dict) else self.delay

    def probability(self, operation: str) -> float:
        """How likely the operation fails."""
        return self.fail.get(operation, 0.0) if isinstance(self.fail, dict) else float(operation in self.fail)


class FakeSide:
    """Carries out the operations of one fake node or subcloud.

    Args:
        kind: "node" or "subcloud".
        name: The node's or subcloud's name.
        info: How it behaves.
    """

    def __init__(self, kind: str, name: str, info: FakeInfo) -> None:
        self._name = name
        self._info = info
        self._kind = kind
        self._state = _FileState(info.state_dir / f"{kind}-{name}.json") if info.state_dir else _Memory.of(kind, name)

    @contextmanager
    def operation(self, operation: str) -> Iterator[None]:
        """Take the time of the operation and fail if it is to fail; the block then does it."""
        self._write("begin", operation)
        try:
            time.sleep(self._info.seconds(operation))
            self._fail(operation)
            yield
        except BaseException as error:
            self._write("failed", operation, error=type(error).__name__)
            raise
        self._write("end", operation)

    def update(self, change: Callable[[dict[str, Any]], _T]) -> _T:
        """Let `change` read and change the state, alone; return what it returns."""
        return self._state.update(change)

    def _fail(self, operation: str) -> None:
        if self._info.unreachable:
            raise DriverUnreachable(self._name, "fake", "is set to be unreachable", "change its driver_info")
        calls = self.update(lambda state: _count(state, operation))
        drawn = random.random() < self._info.probability(operation)  # noqa: S311 - no secret hangs on it
        if drawn or calls <= self._info.fail_first.get(operation, 0):
            raise DriverRejected(self._name, "fake", f"{operation} is set to fail", "change its driver_info")

    def _write(self, event: str, operation: str, **more: str) -> None:
        if self._info.journal is None:
            return
        record = {"at": time.time(), "pid": os.getpid(), self._kind: self._name, "operation": operation, "event": event}
        line = json.dumps(record | more) + "\n"
        # One write in append mode: lines of several processes do not mix.
        descriptor = os.open(self._info.journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)


def _count(state: dict[str, Any], operation: str) -> int:
    calls: dict[str, int] = state.setdefault("calls", {})
    calls[operation] = calls.get(operation, 0) + 1
    return calls[operation]


class _Memory:
    """State that lives as long as the process, one for each name."""

    _all: ClassVar[dict[tuple[str, str], "_Memory"]] = {}
    _lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self) -> None:
        self._state: dict[str, Any] = {}

    @classmethod
    def of(cls, kind: str, name: str) -> "_Memory":
        with cls._lock:
            return cls._all.setdefault((kind, name), cls())

    def update(self, change: Callable[[dict[str, Any]], _T]) -> _T:
        with self._lock:
            return change(self._state)


class _FileState:
    """State in a JSON file that is replaced as a whole, under a lock of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def update(self, change: Callable[[dict[str, Any]], _T]) -> _T:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.with_suffix(".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            state = json.loads(self._path.read_text(encoding="utf-8")) if self._path.exists() else {}
            result = change(state)
            fresh = self._path.with_suffix(".new")
            fresh.write_text(json.dumps(state), encoding="utf-8")
            fresh.replace(self._path)
            return result
