"""A lock goes from process to process with the work, and nobody is left holding it."""

import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from celery.exceptions import QueueNotFound, TaskRevokedError

from locking import LockMode, ResourceLocked
from tasks import app, pool, task_manager
from tasks.errors import InvalidArguments, InvalidHandOver
from tasks.unclaimed import HEADER
from tests.processes import wait_until


def test_the_lock_follows_the_work_into_the_worker_and_is_free_when_the_work_is_done(
    floor: Any, actions: Any, open_door: Callable[[str], int], hold: Callable[..., Any]
) -> None:
    # Given a holder who leaves the rest to an action
    with task_manager.acquire(["node-1", "node-2"], purpose="prepare") as task:
        fence = task.lock.fence
        result = task.spawn_after(actions.work.s(["node-1", "node-2"], "a"))

    # When the action waits for a worker, then the nodes are held for it, and it is named
    [holder] = app.runtime.locks.holders("node:node-1")
    assert (holder.task, holder.fence, holder.purpose) == (result.id, fence, "work, not yet started, after prepare")
    with pytest.raises(ResourceLocked):
        hold("node-2")

    # When a worker runs it, then that is the same grant: nobody was between the two
    floor.start_worker()
    assert floor.begun()["fence"] == fence
    assert floor.begun()["pid"] != os.getpid()
    assert app.runtime.locks.holders("node:node-1")[0].purpose == "work"

    # When it ends, then the nodes are free
    open_door("a")
    assert result.get(timeout=60) == "done"
    wait_until(floor.is_free)

    # When an action fails, or is deferred, then they are, too; a second run has a lock of its own
    with task_manager.acquire("node-1") as task:
        failing = task.spawn_after(actions.fail.s("node-1"))
    with pytest.raises(RuntimeError, match="torn"):
        failing.get(timeout=60)
    wait_until(floor.is_free)
    with task_manager.acquire("node-1") as task:
        deferred = task.spawn_after(actions.defer_once.s("node-1"))
    deferred.get(timeout=60)
    first, second = [told["fence"] for told in floor.journal("began")[-2:]]
    assert first < second
    wait_until(floor.is_free)

    # When a shared action takes over an exclusive lock, then others may look, too
    with task_manager.acquire("node-1") as task:
        looking = task.spawn_after(actions.look.s("node-1"))
    assert looking.get(timeout=60) == "seen"
    assert floor.journal("began")[-1]["mode"] == "shared"

    # When an action hands over in turn, then the lock goes on with it
    passed = actions.pass_on.delay(fleet_uuid(floor))
    wait_until(lambda: floor.journal("ended")[1:])
    first, second = [told["fence"] for told in floor.journal("began")[-2:]]
    assert first == second
    assert app.AsyncResult(passed.get(timeout=60)).get(timeout=30) == "done"
    wait_until(lambda: app.runtime.locks.list() == ())


def fleet_uuid(floor: Any) -> str:
    return str(floor.fleet.node("node-1").uuid)


def test_a_killed_worker_keeps_no_lock_that_it_took_over(
    floor: Any, actions: Any, open_door: Callable[[str], int]
) -> None:
    # Given an action that took over a lock, and whose worker is killed
    with task_manager.acquire("node-1") as task:
        result = task.spawn_after(actions.work.s("node-1", "a"))
    worker = floor.start_worker()
    first = floor.begun()
    worker.kill()

    # When it is delivered again, with a handle that is used up, then it runs under a lock of its own
    floor.start_worker()
    second = floor.begun(2)
    assert second["fence"] > first["fence"]
    open_door("a")
    assert result.get(timeout=60) == "done"
    wait_until(lambda: app.runtime.locks.list() == ())


def test_what_never_starts_leaves_the_nodes_free(floor: Any, actions: Any, open_door: Callable[[str], int]) -> None:
    # Given five actions that got the lock on a node each, and will never start: one is cancelled
    def hand_over(node: str, **options: Any) -> Any:
        with task_manager.acquire(node) as task:
            return task.spawn_after(actions.work.s(node).set(**options), within=60)

    cancelled = hand_over("node-1")
    assert not floor.is_free()
    assert pool.cancel(cancelled.id) == "ready"
    assert floor.is_free()

    # ... one expires, and a worker finds out
    expired = hand_over("node-1", expires=0.1)
    worker = floor.start_worker("-c", "1")
    wait_until(floor.is_free)
    with pytest.raises(TaskRevokedError):
        expired.get(timeout=60)

    # ... one is revoked while it waits for a slot
    blocker = actions.work.delay("node-2", "b")
    floor.begun()
    revoked = hand_over("node-1")
    app.control.revoke(revoked.id)
    time.sleep(0.2)  # a broadcast has no answer to wait for
    open_door("b")
    blocker.get(timeout=60)
    with pytest.raises(TaskRevokedError):
        revoked.get(timeout=60)
    wait_until(floor.is_free)
    worker.kill()

    # ... one is a dead letter, for no worker knows it
    stranger = floor.start_worker(actions=False)
    unknown = hand_over("node-1")
    wait_until(lambda: pool.dead_letters("actions"))
    wait_until(floor.is_free)
    stranger.kill()
    assert not floor.journal("ended")[1:]
    assert pool.dead_letters("actions")[0].id == unknown.id


def test_a_message_that_comes_too_late_finds_the_nodes_free_and_asks_anew(
    floor: Any, actions: Any, hold: Callable[..., Any]
) -> None:
    # Given an action that got the lock for a moment, and no worker in that time
    with task_manager.acquire("node-1") as task:
        fence = task.lock.fence
        task.spawn_after(actions.work.s("node-1"), within=0.2)

    # When the time is over, then the node is anybody's
    hold("node-1", wait=10.0).release()

    # When the action starts at last, then under a lock of its own
    floor.start_worker()
    assert floor.begun()["fence"] > fence


def test_a_forged_handle_is_worth_nothing_and_a_foreign_one_is_refused_and_freed(floor: Any, actions: Any) -> None:
    # Given a message with a handle that nobody gave
    floor.start_worker()
    forged = actions.work.apply_async(["node-1"], headers={HEADER: "handed.guessed"})
    assert forged.get(timeout=60) == "done"
    nonsense = actions.work.apply_async(["node-1"], headers={HEADER: 7})
    assert nonsense.get(timeout=60) == "done"

    # When a message brings the lock of another node, or too weak a lock, then it fails by name, and nothing is locked
    for names, mode, reason in (("node-2", LockMode.EXCLUSIVE, "not on node-1"), ("node-1", LockMode.SHARED, "mode")):
        lock = app.runtime.locks.acquire(f"node:{names}", mode)
        foreign = actions.work.apply_async(["node-1"], headers={HEADER: lock.transfer()})
        with pytest.raises(Exception, match=reason) as seen:
            foreign.get(timeout=60)
        assert type(seen.value).__name__ == "InvalidHandOver"
        wait_until(lambda: app.runtime.locks.list() == ())


# -- what is refused, and what fails, before anything is sent


def test_after_an_error_in_the_body_nothing_is_sent_and_the_hook_hears_of_it_under_the_lock(
    floor: Any, actions: Any, queued: Callable[[], dict[str, int]]
) -> None:
    # Given a body that promises an action its lock, and then fails; and a hook that fails, too
    heard: list[Exception] = []

    def on_error(error: Exception) -> None:
        heard.append(error)
        assert not floor.is_free()
        raise LookupError("the hook's own trouble")

    def body() -> None:
        with task_manager.acquire("node-1") as task:
            task.spawn_after(actions.work.s("node-1"), on_error=on_error)
            raise ZeroDivisionError

    # When it runs, then its own error is the one that is seen
    with pytest.raises(ZeroDivisionError) as seen:
        body()
    assert heard == [seen.value]
    assert "the hook's own trouble" in seen.value.__notes__[0]
    assert queued() == {}
    assert floor.is_free()


def test_an_action_that_cannot_be_enqueued_leaves_the_node_as_the_hook_wants_it_and_free(
    floor: Any, actions: Any
) -> None:
    # Given a follower for a queue that does not exist, and a hook that writes the node's row
    task = task_manager.acquire("node-1")
    task.spawn_after(
        actions.work.s("node-1").set(queue="nowhere"),
        on_error=lambda error: task.save(task.node, last_error=str(error)),
    )

    # When the block ends, then the error comes out, after the hook has written under the lock
    with pytest.raises(QueueNotFound), task:
        pass
    assert "nowhere" in floor.fleet.node("node-1").last_error
    assert app.runtime.locks.list() == ()


@pytest.mark.parametrize(
    ("call", "options", "explanation"),
    [
        (lambda a: a.work.s("node-2"), {}, "it is on node-2, which this task does not hold"),
        (lambda a: a.work.s(["node-1", "ghost"]), {}, "it is on ghost"),
        (lambda a: a.plain.s("node-1"), {}, "handed.plain can't .* it is no node action"),
        (lambda a: a.work.si("node-1") | a.work.si("node-1"), {}, "no signature of a single action"),
        (lambda _: "work", {}, "'work' can't .* no signature"),
        (lambda a: a.work.s("node-1"), {"shared": True}, "needs its nodes in the mode exclusive"),
        (lambda a: a.look.s("node-1"), {"mode": LockMode.OBSERVE}, "held in the mode observe"),
    ],
)
def test_what_cannot_take_over_is_refused_when_it_is_promised(
    floor: Any, actions: Any, call: Any, options: dict[str, Any], explanation: str
) -> None:
    with task_manager.acquire("node-1", **options) as task, pytest.raises(InvalidHandOver, match=explanation):
        task.spawn_after(call(actions))
    assert app.runtime.locks.list() == ()


def test_arguments_that_do_not_fit_are_refused_when_the_lock_is_promised(floor: Any, actions: Any) -> None:
    with task_manager.acquire("node-1") as task:
        with pytest.raises(InvalidArguments, match="too many positional"):
            task.spawn_after(actions.work.s("node-1", "a", "b"))
        task.spawn_after(actions.work.s("node-1"))
        with pytest.raises(InvalidHandOver, match=r"promised to handed\.work already"):
            task.spawn_after(actions.work.s("node-1"))
