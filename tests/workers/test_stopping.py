from collections.abc import Callable
from typing import Any

import pytest

from tasks import app

POOLS = {"prefork": "actions", "threads": "periodic", "solo": "periodic-external"}


def living(queue: str) -> list[Any]:
    with app.queues() as queues:
        return queues.tasks(queue)


@pytest.mark.system
def test_a_worker_that_is_stopped_hands_back_what_does_not_end_in_time(
    workers: Any, work: Any, wait_until: Callable[..., Any]
) -> None:
    # Given a worker of each pool, with a task that takes too long; and one whose task ends when it is asked to
    started = {}
    for pool, queue in POOLS.items():
        started[pool] = workers.start(f"{pool}@x", "-Q", queue, "-P", pool, FLEETRING_DRAIN_LIMIT="2")
        work.nap.apply_async((300,), queue=queue).forget()
    for queue in POOLS.values():
        wait_until(lambda queue=queue: [task.state for task in living(queue)] == ["running"])

    # When they are stopped, then they end soon after their limit
    status = {}
    for worker in started.values():
        worker.ask_to_end()
    for pool, worker in started.items():
        status[pool] = worker.process.wait(40)
    assert status == {"prefork": 0, "threads": 1, "solo": 1}

    # And the tasks are in their queues again, or will be as soon as another worker looks
    heir = workers.start("heir@x", "-Q", ",".join(POOLS.values()), FLEETRING_SLOTS="4")
    for queue in POOLS.values():
        wait_until(lambda queue=queue: [(t.state, t.worker) for t in living(queue)] == [("running", "heir@x")])
    redelivered = {pool: living(queue)[0].redeliveries for pool, queue in POOLS.items()}
    assert redelivered == {"prefork": 0, "threads": 1, "solo": 1}

    # When the heir is asked to stop a second time, then it does so at once, long before its limit of 60 s
    heir.ask_to_end()
    wait_until(lambda: "The worker is stopping now" in heir.output)
    heir.ask_to_end()
    assert heir.process.wait(30) == 0
    assert [task.state for queue in POOLS.values() for task in living(queue)] == ["ready"] * 3


@pytest.mark.system
def test_a_task_that_heeds_the_stop_is_put_off_and_its_worker_ends(
    workers: Any, work: Any, wait_until: Callable[..., Any]
) -> None:
    with app.queues() as queues:
        for queue in POOLS.values():
            for task in queues.tasks(queue):
                queues.cancel(task.id)
    worker = workers.start("polite@x", "-Q", "actions")
    work.nap.apply_async((300, True)).forget()
    wait_until(lambda: [task.state for task in living("actions")] == ["running"])
    assert worker.terminate() == 0
    assert [task.state for task in living("actions")] == ["delayed"]
