"""Actions of one node run in their order, however slow the slots are that they were claimed for."""

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest

from tasks import LockMode, pool
from tasks.action import MOST_IN_ORDER
from tasks.why import why
from tests.processes import WorkerProcess

pytestmark = pytest.mark.system

Wait = Callable[..., Any]


@pytest.fixture(scope="module")
def workers(start_worker: Callable[..., WorkerProcess]) -> dict[str, WorkerProcess]:
    return {f"w{number}@test": start_worker("-c", "1") for number in range(2)}


@contextmanager
def frozen(*workers: WorkerProcess) -> Iterator[Callable[..., None]]:
    """Let the pools of workers not get on, while the workers themselves claim tasks."""

    def tell(number: signal.Signals, told: Iterable[WorkerProcess]) -> None:
        for worker in told:
            for child in worker.children:
                os.kill(child, number)

    tell(signal.SIGSTOP, workers)
    try:
        yield lambda *thawed: tell(signal.SIGCONT, thawed)
    finally:
        tell(signal.SIGCONT, workers)


def test_a_later_action_waits_for_one_whose_slot_has_yet_to_ask_for_the_lock(
    actions: ModuleType,
    workers: dict[str, WorkerProcess],
    began: Callable[[], list[str]],
    wait_until: Wait,
    nothing_is_left: Callable[[], bool],
) -> None:
    # Given an action that was claimed for a slot which does not get on
    with frozen(*workers.values()) as thaw:
        first = actions.hold.delay("node-1")
        slow = wait_until(lambda: pool.find(first.id).worker)
        thaw(*(worker for name, worker in workers.items() if name != slow))

        # When a later one comes for the same node, and one for another node
        later = actions.hold.delay("node-1")
        elsewhere = actions.hold.delay("node-2")

        # Then the slot that is free takes the one for the other node, though nobody has the lock of the first
        assert elsewhere.get(timeout=60) == "worked"
        assert pool.find(later.id).state == "parked"
        [cause, *_] = why(later.id).subjects[0].causes
        assert (cause.code, cause.details) == ("turn", {"node": "node-1", "task": first.id})

    # And they run in their order
    assert later.get(timeout=60) == "worked"
    assert [task_id for task_id in began() if task_id in {first.id, later.id}] == [first.id, later.id]
    wait_until(nothing_is_left)


@pytest.mark.parametrize(
    ("refs", "options", "orders"),
    [
        ("node-1", {}, True),
        (["node-1", "node-2"], {}, True),
        ([f"node-{number}" for number in range(MOST_IN_ORDER + 1)], {}, False),
        ("node-1", {"headers": {"fleetring_lock": "a handle"}}, False),
        ("node-1", {"headers": {"fleetring_fence": 7}}, False),
    ],
)
def test_only_what_asks_for_its_lock_itself_and_on_few_nodes_has_an_order(
    actions: ModuleType, refs: Any, options: dict[str, Any], orders: bool
) -> None:
    assert bool(actions.hold.ordering((refs,), {}, options)) == orders


def test_an_action_that_does_not_wait_parked_has_no_order(actions: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    for setting, value in {"on_busy": "raise", "mode": LockMode.OBSERVE}.items():
        with monkeypatch.context() as changed:
            changed.setattr(actions.hold, setting, value)
            assert actions.hold.ordering(("node-1",), {}, {}) == ""
