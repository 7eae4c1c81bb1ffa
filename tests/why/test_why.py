"""The situations in which somebody asks why, each set up for real, with the true cause named."""

import json
import threading
from collections.abc import Callable, Iterator
from itertools import takewhile
from typing import Any

import pytest
import redis
from click.testing import CliRunner

from tasks import app, initial_sync, pool, why
from tasks.cli import fleet as cli
from tasks.drivers import DriverError
from tasks.errors import UnknownName
from tasks.inventory import SyncState
from tasks.workers import Register

pytestmark = pytest.mark.system


@pytest.fixture
def busy(fleet: Any, actions: Any, open_door: Callable[[str], object], wait_until: Callable[..., Any]) -> Iterator[Any]:
    """Makes the worker hold a node until the end of the test, and returns the task."""
    doors: list[str] = []

    def start(node: str) -> Any:
        fleet.add_node(node)
        doors.append(node)
        result = actions.hold.delay(node, node)
        wait_until(lambda: result.state == "PROGRESS")
        return result

    yield start
    cancel_what_waits()  # who waits for a node would hold it next
    for door in doors:
        open_door(door)
    wait_until(lambda: not pool.stats("actions").running)


@pytest.fixture(autouse=True)
def _leave_nothing(fleet: Any) -> Iterator[None]:
    yield
    cancel_what_waits()


def cancel_what_waits() -> None:
    for task in pool.list_():
        if task.state != "running":
            pool.cancel(task.id)


def cause(name: str) -> Any:
    return why(name).subjects[0].cause


def test_a_running_task_names_its_worker_and_who_waits_behind_it(
    busy: Callable[[str], Any], actions: Any, wait_until: Callable[..., Any]
) -> None:
    # Given a task that runs, and another one for its node
    first = busy("node-1")
    second = actions.hold.delay("node-1", "node-1")
    wait_until(lambda: app.runtime.locks.waiters("node:node-1") or second.state == "RETRY")

    # When one asks why it is not done, then its worker, its progress and its age are named
    [subject] = why(first.id).subjects
    assert (subject.kind, subject.state, subject.cause.code) == ("task", "running", "running")
    assert "runs on worker-" in subject.cause.text
    assert "at 1 of 2: erasing" in subject.cause.text
    assert subject.cause.since
    assert "hold on node-1, queue actions, priority 0" in subject.what
    pool.cancel(second.id)


def test_a_task_that_waits_for_a_lock_names_its_holder_with_purpose_and_age(
    fleet: Any, busy: Callable[[str], Any], actions: Any, wait_until: Callable[..., Any]
) -> None:
    # Given a node that a running task holds, and a task that wants it
    first = busy("node-2")
    second = actions.hold.delay("node-2", "node-2")
    wait_until(lambda: cause(second.id).code == "lock")

    # When one asks, then the lock, its holder, its purpose and its age are named, and the node tells the same
    told = cause(second.id)
    assert "node:node-2, held exclusive by hold (task " + first.id in told.text
    assert told.details["holders"][0]["task"] == first.id
    assert told.since
    [node] = why("node-2").subjects
    assert (node.state, node.cause.code) == ("busy", "lock")
    assert first.id in node.cause.text
    assert node.behind_count == 1
    assert second.id == node.behind[0].task


def test_a_paused_queue_is_named_with_all_its_reasons(fleet: Any, actions: Any) -> None:
    # Given a queue that is paused twice, and a task in it
    fleet.add_node("node-3")
    for reason in ("firmware freeze", "night"):
        pool.pause("actions", reason)
    task = actions.fail.delay("node-3")

    # When one asks of the task, or of its node, then both reasons are named, and how to end them
    for name in (task.id, "node-3"):
        [subject] = why(name).subjects
        assert subject.cause.code == "paused"
        assert "'firmware freeze' for " in subject.cause.text
        assert "'night' for " in subject.cause.text
        assert "fleetring queues resume actions --reason 'night'" in subject.next
    pool.cancel(task.id)
    for reason in ("firmware freeze", "night"):
        pool.resume("actions", reason)


def test_a_queue_without_a_worker_is_named_with_the_workers_of_other_queues(fleet: Any, actions: Any) -> None:
    fleet.add_node("node-4")
    task = actions.fail.apply_async(["node-4"], queue="periodic")
    told = cause(task.id)
    assert told.code == "no-worker"
    assert "no worker consumes queue periodic: there are worker-" in told.text


def test_a_task_that_is_not_due_tells_when_it_is(fleet: Any, actions: Any) -> None:
    fleet.add_node("node-5")
    task = actions.fail.apply_async(["node-5"], countdown=3600)
    report = why(task.id)
    [subject] = report.subjects
    assert (subject.state, subject.cause.code) == ("delayed", "not-due")
    assert 3500 < subject.cause.until - report.at <= 3600
    assert subject.next_at == subject.cause.until


def test_busy_slots_are_named_with_what_keeps_them_busy_and_how_many_go_first(
    fleet: Any, busy: Callable[[str], Any], actions: Any, wait_until: Callable[..., Any]
) -> None:
    # Given a worker whose two slots are busy, and two tasks in line
    busy("node-6")
    busy("node-7")
    fleet.add_node("node-8")
    ahead, task = (actions.fail.delay("node-8") for _ in range(2))

    # When one asks of the second, then the slots, what they do and the place are named
    wait_until(lambda: cause(task.id).code == "slots-busy")
    [subject] = why(task.id).subjects
    assert "2 of 2 slots of worker-" in subject.cause.text
    assert subject.cause.text.endswith("are busy: hold (2)")
    assert {held["name"] for held in subject.cause.details["workers"][0]["tasks"]} == {"why.hold"}
    assert [cause.code for cause in subject.causes] == ["slots-busy", "order"]
    assert why(ahead.id).subjects[0].behind_count == 1


def test_a_queue_at_its_limit_or_without_slots_or_that_is_quiesced_is_named(
    fleet: Any, busy: Callable[[str], Any], actions: Any
) -> None:
    # Given a queue that may run one task, which it does
    busy("node-9")
    pool.resize("actions", 1)
    task = actions.fail.delay("node-9")
    told = cause(task.id)
    assert told.code == "limit"
    assert "may run 1 task at once, and 1 run: hold" in told.text

    # When it may run none, then that is the cause
    pool.resize("actions", 0)
    assert "queue actions has 0 slots" in cause(task.id).text

    # When it is being quiesced, then that is told, too
    quiescing = threading.Thread(target=_quiesce)
    pool.resize("actions", 1)
    quiescing.start()
    try:
        while not any(found.code == "quiesced" for found in why(task.id).subjects[0].causes):
            assert quiescing.is_alive()
    finally:
        quiescing.join()
        pool.resize("actions", None)


def _quiesce() -> None:
    with pytest.raises(TimeoutError):
        pool.quiesce("actions", 2.0)


def test_a_drained_worker_is_named(fleet: Any, actions: Any, wait_until: Callable[..., Any]) -> None:
    # Given a fleet whose only worker is drained
    fleet.add_node("node-10")
    [worker] = [seen.name for seen in Register(app).read() if seen.report]
    assert CliRunner().invoke(cli, ["workers", "drain", worker]).exit_code == 0
    task = wait_until(lambda: _stage() == "drained" and actions.fail.delay("node-10"))

    # When one asks, then it is named
    told = cause(task.id)
    assert CliRunner().invoke(cli, ["workers", "resume", worker]).exit_code == 0
    assert told.code == "drained"
    assert f"{worker} is drained" in told.text
    wait_until(lambda: _stage() == "running")


def _stage() -> str:
    return next(str(seen.report.stage) for seen in Register(app).read() if seen.report)


def test_an_ended_task_tells_how_it_ended(
    fleet: Any, actions: Any, open_door: Callable[[str], object], wait_until: Callable[..., Any]
) -> None:
    # Given tasks that succeeded, failed, were cancelled, and became a dead letter
    fleet.add_node("node-11")
    open_door("through")
    succeeded, failed = actions.hold.delay("node-11", "through"), actions.fail.delay("node-11")
    refused, cancelled = actions.refuse.delay(), actions.fail.apply_async(["node-11"], countdown=3600)
    pool.cancel(cancelled.id)
    for result in (succeeded, failed, refused):
        result.get(timeout=60, propagate=False)

    # When one asks, then each tells its end and the reason
    assert (cause(succeeded.id).code, cause(succeeded.id).text[:21]) == ("finished", "has succeeded: 'held'")
    assert cause(failed.id).code == "failed"
    assert "RuntimeError: the firmware image is torn" in cause(failed.id).text
    assert cause(cancelled.id).code == "cancelled"
    wait_until(lambda: cause(refused.id).code == "dead-letter")
    assert "never" in cause(refused.id).text or "rejected" in cause(refused.id).text
    assert f"retry-dead {refused.id}" in why(refused.id).subjects[0].next


def test_a_subcloud_tells_what_its_sync_waits_for_from_request_to_hold_off(fleet: Any) -> None:
    # Given a subcloud that is not managed
    fleet.add_subcloud("site-1", fail=["sync_identity"])
    assert cause("site-1").code == "not-requested"

    # When its sync is requested and nobody consumes its queue, then that is the cause
    initial_sync.update_state("site-1", managed=True, online=True)
    assert (fleet.subcloud("site-1").state, cause("site-1").code) == (SyncState.REQUESTED, "no-worker")

    # When it fails, then the error, the hold-off and its end are told
    with pytest.raises(DriverError):
        initial_sync.synchronise.apply(args=("site-1", fleet.subcloud("site-1").generation), throw=True)
    report = why("site-1")
    told = report.subjects[0].cause
    assert told.code == "hold-off"
    assert "1 failed attempt at step identity" in told.text
    assert 0 < told.until - report.at <= 61


def test_a_name_of_two_things_shows_both_and_a_prefix_chooses(fleet: Any) -> None:
    fleet.add_node("twin")
    fleet.add_subcloud("twin")
    assert [(subject.kind, subject.cause.code) for subject in why("twin").subjects] == [
        ("node", "free"),
        ("subcloud", "not-requested"),
    ]
    assert [subject.kind for subject in why("subcloud:twin").subjects] == ["subcloud"]
    assert why(fleet.node("twin").uuid).subjects[0].name == "twin"


def test_an_unknown_name_is_refused_with_names_that_are_like_it(fleet: Any, actions: Any) -> None:
    fleet.add_node("rack-7")
    task = actions.fail.apply_async(["rack-7"], countdown=3600)
    with pytest.raises(UnknownName, match=r"no task, node or subcloud is called 'rak-7'; did you mean 'rack-7'"):
        why("rak-7")
    with pytest.raises(UnknownName, match=task.id):
        why(task.id[:8])
    done = CliRunner().invoke(cli, ["why", "nothing-like-it-at-all"])
    assert done.exit_code == 2
    assert "no task, node or subcloud is called" in done.stderr


def test_the_command_tells_the_same_as_text_and_as_json(fleet: Any, actions: Any) -> None:
    fleet.add_node("node-12")
    task = actions.fail.apply_async(["node-12"], countdown=3600)
    text = CliRunner().invoke(cli, ["why", "node-12"])
    assert text.exit_code == 0
    assert "node node-12" in text.stdout
    assert "is not due before" in text.stdout
    told = json.loads(CliRunner().invoke(cli, ["why", "node:node-12", "--json"]).stdout)
    assert told["subjects"][0]["causes"][0]["code"] == "not-due"
    assert told["subjects"][0]["causes"][0]["details"]["task"] == task.id


def test_asking_costs_a_bounded_number_of_commands_however_long_the_queue_is(
    fleet: Any, actions: Any, valkey: str
) -> None:
    # Given hundreds of tasks in the queue of a node
    fleet.add_node("node-13")
    pool.pause("actions", "a long queue")
    pool.add_many([actions.fail.s("node-13") for _ in range(500)])

    # When one asks why it waits
    with redis.Redis.from_url(valkey) as client, client.monitor() as monitor:
        assert cause("node-13").code == "paused"
        client.echo("asked")
        sent = iter(monitor.next_command, None)
        trips = [
            one for one in takewhile(lambda one: "asked" not in one["command"], sent) if one["client_type"] != "lua"
        ]

    # Then a few trips answer; the worker's own are among them
    assert len(trips) <= 30
    with app.connection_for_write() as connection:
        connection.default_channel.queue_purge("actions")
    pool.resume("actions", "a long queue")
