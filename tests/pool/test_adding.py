"""Adding tasks: order, ids, all or none, and what is refused."""

import json
from contextlib import suppress
from typing import Any

import pytest
import redis
from celery import chain, group, signals
from celery.events.receiver import EventReceiver
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks import app, pool
from tasks.errors import InvalidArguments, InvalidPriority, MismatchedBatch
from tasks.initial_sync import synchronise
from tasks.node_actions import reboot
from tasks.transport import DuplicateTask, ListedTask, NewTask


def listed(queue: str = "actions") -> list[ListedTask]:
    return pool.list_(queue, limit=1000)


def texts() -> list[Any]:
    """The first argument of each ready task, in the order of their start."""
    return [json.loads(json.loads(task.payload)["body"])[0][0] for task in listed()]


def test_tasks_start_by_priority_then_in_the_order_in_which_they_were_added(work: Any) -> None:
    # G-10: any integer, the lower goes first, equals in the order of arrival
    for text, priority in [("a", 0), ("b", 10_267_659), ("c", 0), ("d", -20), ("e", 5)]:
        pool.add(work.note.s(text), priority=priority)
    assert texts() == ["d", "a", "c", "e", "b"]


def test_a_task_may_bring_its_own_id_which_is_unique_while_it_lives(work: Any) -> None:
    # G-14: given a queued task with an id of the caller's choice
    assert pool.add(work.note.s("first"), task_id="flash node-7").id == "flash node-7"

    # When another one comes with this id, then it is refused, and the first stays as it is
    with pytest.raises(DuplicateTask, match="'flash node-7' lives already"):
        pool.add(work.note.s("first"), task_id="flash node-7")
    assert texts() == ["first"]


def test_many_tasks_are_added_in_their_order_with_a_priority_and_an_id_each(work: Any) -> None:
    # G-16: when several are added at once
    results = pool.add_many([work.note.s(text) for text in "abc"], priority=[5, 5, -5], task_ids=["x", None, "z"])

    # Then each has its own priority and id, and equals keep the order of the list
    assert texts() == ["c", "a", "b"]
    assert [results[0].id, results[2].id] == ["x", "z"]
    assert {task.id: task.priority for task in listed()} == {"x": 5, results[1].id: 5, "z": -5}


def test_an_empty_batch_adds_nothing(work: Any) -> None:
    assert pool.add_many([]) == []
    assert listed() == []


def test_a_generator_of_signatures_will_do(work: Any) -> None:
    assert len(pool.add_many(work.note.s(i) for i in range(3))) == 3


@pytest.mark.parametrize(
    ("options", "error", "explanation"),
    [
        ({"priority": [1]}, MismatchedBatch, r"^Number of priorities \(1\) doesn't match number of tasks \(2\)$"),
        ({"task_ids": ["a"] * 3}, MismatchedBatch, r"^Number of task IDs \(3\) doesn't match number of tasks \(2\)$"),
        ({"priority": [1, "2"]}, InvalidPriority, "'2', which is not an integer"),
        ({"priority": None}, InvalidPriority, "None, which is not an integer"),
        ({"priority": True}, InvalidPriority, "not an integer"),
        ({"priority": "high"}, InvalidPriority, "'high'"),
        ({"priority": 2**53 + 1}, ValueError, r"-2\*\*53 to 2\*\*53"),
        ({"task_ids": "ab"}, InvalidArguments, "task IDs must be a list"),
        ({"task_ids": [1, 2]}, InvalidArguments, "an id is a text|a task's id is a text"),
        ({"task_ids": ["", "b"]}, InvalidArguments, "that isn't empty"),
        ({"task_ids": ["b", "b"]}, DuplicateTask, "'b' lives already"),
    ],
)
def test_a_batch_that_cannot_be_added_adds_nothing(
    work: Any, options: dict[str, Any], error: type[Exception], explanation: str
) -> None:
    # G-12, G-16, G-17
    with pytest.raises(error, match=explanation):
        pool.add_many([work.note.s("a"), work.note.s("b")], **options)
    assert listed() == []


@pytest.mark.parametrize("thing", [7, "reboot", ("node-7",), None, {"task": "pool.note"}])
def test_what_is_no_signature_is_refused_and_nothing_is_added(work: Any, thing: object) -> None:
    with pytest.raises(InvalidArguments, match=r"signatures of single tasks such as reboot.s\('node-7'\)"):
        pool.add_many([work.note.s("a"), thing])
    assert listed() == []


def test_chains_and_groups_are_left_to_celery(work: Any) -> None:
    for canvas in (chain(work.note.s(1), work.note.s(2)), group(work.note.s(1), work.note.s(2))):
        with pytest.raises(InvalidArguments, match="with its apply_async"):
            pool.add(canvas)


def test_wrong_arguments_anywhere_in_a_batch_refuse_all_of_it(work: Any) -> None:
    with pytest.raises(TypeError, match="positional argument"):
        pool.add_many([work.note.s("a"), work.note.s("b"), work.note.s("c", "too", "many")])
    with pytest.raises(InvalidArguments, match="too many positional arguments"):
        pool.add_many([reboot.s("node-1"), reboot.s("node-2"), reboot.s("node-3", "now")])
    assert listed() == []


def test_too_large_a_batch_is_refused_with_the_number_that_fits(work: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.transport.Queues.AT_ONCE", 2)
    with pytest.raises(ValueError, match="3 tasks are too many for one step: add at most 2"):
        pool.add_many([work.note.s(i) for i in range(3)])


IDS = st.sampled_from([f"t{i}" for i in range(6)])


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(living=st.sets(IDS), batch=st.lists(st.tuples(st.one_of(st.none(), IDS), st.integers(-3, 3)), max_size=8))
def test_a_batch_is_added_as_a_whole_or_not_at_all(
    work: Any, broker: redis.Redis, living: set[str], batch: list[tuple[str | None, int]]
) -> None:
    # G-18: given some tasks that live already
    broker.flushall()
    pool.add_many([work.note.s(task_id) for task_id in sorted(living)], task_ids=sorted(living))
    before = listed()

    # When a batch comes whose ids may be among theirs, or occur twice
    ids = [task_id for task_id, _ in batch]
    chosen = [task_id for task_id in ids if task_id]
    add = lambda: pool.add_many(  # noqa: E731 - the call of both branches
        [work.note.s(f"new {n}") for n in range(len(batch))], [priority for _, priority in batch], ids
    )

    # Then either all of it is there, or all is as before
    if living & set(chosen) or len(set(chosen)) < len(chosen):
        with pytest.raises(DuplicateTask):
            add()
        assert listed() == before
    else:
        results = add()
        assert {task.id for task in listed()} == living | {result.id for result in results}
        places = [(task.priority, task.arrival) for task in listed()]
        assert places == sorted(places)


def without_what_is_its_own(payload: bytes, task_id: str) -> Any:
    message = json.loads(payload.decode().replace(task_id, "ID"))
    for part in ("delivery_tag", "reply_to"):
        message["properties"].pop(part)
    return message


@pytest.mark.parametrize(
    "options", [{}, {"time_limit": 7, "soft_time_limit": 5}, {"queue": "periodic"}, {"ignore_result": True}]
)
def test_a_cast_message_is_what_celery_writes(work: Any, options: dict[str, Any]) -> None:
    # Given the same call, with everything in it that JSON and formats could stumble over, sent in both ways
    text = 'ä "quoted" \\ 100% %(id)s\n\x00'
    args, kwargs = [[text, "x" * 2000], 1.5, None], {"b": {"z": [1], "a": "it's"}, "a": True}
    sent = work.anything.apply_async(args, kwargs, priority=3, **options)
    queue = options.get("queue", "actions")
    signatures = [work.anything.s("other"), work.anything.s(*args, **kwargs), work.anything.s(1, b=[2], a="c")]
    many = pool.add_many([signature.set(**options) for signature in signatures], priority=3)

    # Then both messages are the same
    payloads = {task.id: task.payload for task in listed(queue)}
    assert without_what_is_its_own(payloads[many[1].id], many[1].id) == without_what_is_its_own(
        payloads[sent.id], sent.id
    )


def test_what_the_broker_notes_of_a_task_in_a_batch_is_what_it_notes_of_one_alone(
    work: Any, broker: redis.Redis
) -> None:
    # Given a queue in which priorities are worth some time of waiting
    with app.queues() as queues:
        queues.set_ageing("actions", 60)

    # When tasks with and without an order among others go both ways
    calls = [work.note.s("a"), reboot.s("node-1"), reboot.s(["node-1", "node-2"]), work.note.s("b")]
    alone = [call.apply_async(priority=7) for call in calls]
    batch = pool.add_many(calls, priority=7)

    # Then they differ in their arrival only
    def noted(task_id: str) -> tuple[list[str], float]:
        record = broker.hget("fleetring:q:actions:tasks", task_id)
        arrival, *rest = record.partition("\n")[0].split(" ")
        return rest, broker.zscore("fleetring:q:actions:ready", arrival + task_id) - int(arrival)

    assert [noted(result.id) for result in batch] == [noted(result.id) for result in alone]
    assert {score for _, score in (noted(result.id) for result in batch)} == {7 * 60 * 1e6}
    assert len({tuple(rest) for rest, _ in (noted(result.id) for result in batch)}) == 3


def test_a_batch_may_mix_tasks_options_delays_and_callbacks(work: Any) -> None:
    # When signatures of all kinds come in one batch
    signatures = [
        work.note.s("plain"),
        work.note.s("later").set(countdown=60),
        reboot.s(["node-1", "node-2"]),
        work.note.s("linked").set(link=work.note.s()),
        work.note.s("elsewhere").set(queue="periodic"),
        work.note.s("plain, too"),
    ]
    results = pool.add_many(signatures)

    # Then each is where it belongs, in the order of the list
    assert [task.id for task in listed()] == [results[n].id for n in (0, 2, 3, 5, 1)]
    assert pool.find(results[1].id).state == "delayed"
    assert pool.find(results[4].id).queue == "periodic"
    assert json.loads(json.loads(pool.find(results[3].id).payload)["body"])[2]["callbacks"]


def test_routers_see_the_arguments_of_each_task() -> None:
    # Given the router that sends each subcloud to a queue of its own
    names = [f"subcloud-{n}" for n in range(20)]

    # When many are added, then each goes where it would go alone
    results = pool.add_many([synchronise.s(name, 1) for name in names])
    expected = [app.amqp.router.route({}, synchronise.name, (name, 1), {})["queue"].name for name in names]
    assert [pool.find(result.id).queue for result in results] == expected


def test_whoever_listens_before_publication_sees_each_message_and_may_change_it(work: Any) -> None:
    def mark(headers: dict[str, Any], **_: Any) -> None:
        headers["trace"] = headers["id"]

    signals.before_task_publish.connect(mark)
    try:
        results = pool.add_many([work.note.s(i) for i in range(3)])
    finally:
        signals.before_task_publish.disconnect(mark)
    assert [json.loads(task.payload)["headers"]["trace"] for task in listed()] == [result.id for result in results]


def test_monitors_are_told_of_each_task(work: Any) -> None:
    # Given a monitor
    seen: list[dict[str, Any]] = []
    with app.connection_for_read() as connection:
        receiver = EventReceiver(connection, handlers={"task-sent": seen.append}, app=app)
        with receiver.consumer_context() as (own, *_):
            with suppress(TimeoutError):
                own.drain_events(timeout=0.2)  # it listens from here on

            # When a batch is added
            results = pool.add_many([work.note.s(f"n{i}") for i in range(600)])

            # Then it hears of each task what it would hear of one that was sent alone
            while len(seen) < 600:
                own.drain_events(timeout=5)
    assert [event["uuid"] for event in seen] == [result.id for result in results]
    assert seen[-1]["name"] == "pool.note"
    assert seen[-1]["args"] == "('n599',)"
    assert seen[-1]["queue"] == "actions"


def test_a_batch_that_was_sent_twice_because_the_answer_was_lost_is_added_once(work: Any) -> None:
    # Given what a client sent
    pool.add_many([work.note.s("a"), work.note.s("b")])
    with app.queues() as queues:
        again = [NewTask(task.queue, task.id, task.payload.decode()) for task in listed()]

        # When it sends the very same once more, then nothing changes
        before = listed()
        queues.add(again)
    assert listed() == before


def test_eager_mode_runs_the_task_here(work: Any) -> None:
    app.conf.task_always_eager = True
    try:
        assert pool.add(work.whisper.s("")).get() == "MainThread"
    finally:
        app.conf.task_always_eager = False
