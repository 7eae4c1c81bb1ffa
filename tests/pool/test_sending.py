"""A task that is sent alone: its message is the one that Celery would write, whoever writes it."""

import json
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any

import pytest
import redis
from celery import Task, _state, signals
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks import app, pool
from tasks.errors import InvalidPriority
from tasks.sending import Mould
from tasks.sending.moulds import new_id
from tasks.transport import ListedTask, QueueClosed


class Number(IntEnum):
    ONE = 1


@pytest.fixture
def casts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the tasks that were cast."""
    seen: list[str] = []
    cast = Mould.cast

    def noted(mould: Mould, own: Any, frame: Any) -> Any:
        seen.append(own.task_id)
        return cast(mould, own, frame)

    monkeypatch.setattr(Mould, "cast", noted)
    return seen


def by_celery(task: Any, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
    """Send a task in Celery's way."""
    call = task.as_call(args, kwargs, options)
    return call.write(call.args, call.kwargs, **call.options)


def by_mould(task: Any, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
    """Send a task as users do."""
    return task.apply_async(args, kwargs, **options)


def sent(task_id: str) -> ListedTask:
    return pool.find(task_id)


def without_its_own(task_id: str) -> tuple[Any, ...]:
    """Everything that the broker knows of a task, but its id, tag and times."""
    found = sent(task_id)
    text = re.sub(r'"delivery_tag": "[^"]*"', "", found.payload.decode().replace(task_id, "ID"))
    return text, found.queue, found.priority, found.state, found.name


@contextmanager
def inside_a_task(task: Any, **request: Any) -> Iterator[None]:
    """Be where a worker runs `task`."""
    task.push_request(called_directly=False, is_eager=False, **request)
    _state._task_stack.push(task)
    try:
        yield
    finally:
        _state._task_stack.pop()
        task.pop_request()


values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.datetimes(), st.just(Number.ONE)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=6,
)
options = st.fixed_dictionaries(
    {},
    optional={
        "priority": st.integers(-(2**53), 2**53),
        "queue": st.sampled_from(["actions", "periodic", None]),
        "ignore_result": st.sampled_from([True, False, None, 1]),
        "time_limit": st.sampled_from([None, 7, 7.0]),
        "soft_time_limit": st.sampled_from([None, 5, 5.5]),
    },
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(args=st.lists(values, max_size=3), kwargs=st.dictionaries(st.text(), values, max_size=3), options=options)
def test_a_usual_message_is_cast_and_is_the_one_that_celery_writes(
    work: Any, casts: list[str], args: list[Any], kwargs: dict[str, Any], options: dict[str, Any]
) -> None:
    # When a call goes both ways
    own = work.anything.apply_async(args, kwargs, **options)
    celerys = by_celery(work.anything, args, kwargs, options)

    # Then nothing in the broker tells them apart, and so do their results
    assert own.id in casts
    assert celerys.id not in casts
    assert without_its_own(own.id) == without_its_own(celerys.id)
    assert bool(own.ignored) == bool(celerys.ignored)


def test_what_a_running_task_sends_names_it_and_the_task_with_which_it_all_began(work: Any, casts: list[str]) -> None:
    # Given a mould that was made outside of any task
    work.note.delay("outside")

    # When a running task sends one, in both ways
    with inside_a_task(work.anything, id="parent", root_id="root"):
        own, celerys = work.note.delay("a"), by_celery(work.note, ["a"], {}, {})
        trail = [child.id for child in work.anything.request.children]

    # Then both name it, and it remembers them
    headers = json.loads(sent(own.id).payload)["headers"]
    assert (headers["parent_id"], headers["root_id"]) == ("parent", "root")
    assert without_its_own(own.id) == without_its_own(celerys.id)
    assert trail == [own.id, celerys.id]
    assert own.id in casts

    # And one that began it all is the root
    with inside_a_task(work.anything, id="parent"):
        assert json.loads(sent(work.note.delay("b").id).payload)["headers"]["root_id"] == "parent"
    assert json.loads(sent(work.note.delay("c").id).payload)["headers"]["parent_id"] is None


def test_an_id_is_a_random_uuid() -> None:
    ids = [uuid.UUID(new_id()) for _ in range(100)]
    assert len(set(ids)) == 100
    assert {(one.version, one.variant) for one in ids} == {(4, uuid.RFC_4122)}
    assert len({str(one)[19] for one in ids}) == 4


def test_equal_options_of_different_kinds_stay_different(work: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for options in ({"time_limit": 7}, {"time_limit": 7.0}, {"ignore_result": True}, {"ignore_result": 1}, {}):
        own, celerys = (send(work.anything, [], {}, options) for send in (by_mould, by_celery))
        assert without_its_own(own.id) == without_its_own(celerys.id)

    # And a task of which results are not wanted any more says so
    monkeypatch.setattr(work.anything, "ignore_result", True)
    assert without_its_own(work.anything.delay().id) == without_its_own(by_celery(work.anything, [], {}, {}).id)


def test_monitors_are_told_the_same(work: Any, broker: redis.Redis, casts: list[str]) -> None:
    # Given somebody who listens
    with broker.pubsub(ignore_subscribe_messages=True) as listener:
        listener.psubscribe("*celeryev*")
        listener.get_message(timeout=5)

        # When tasks are sent in both ways, in turn
        ways = (by_mould, by_celery, by_mould, by_celery)
        sent = [send(work.anything, ["a"], {"b": 1}, {}) for send in ways]
        heard = [message for message in (listener.get_message(timeout=5) for _ in ways) if message]

    # Then the events differ in what is each task's own, and in nothing else
    letters = [json.loads(message["data"]) for message in heard]
    events = [json.loads(letter["body"]) for letter in letters]
    assert [event["uuid"] for event in events] == [event["root_id"] for event in events] == [one.id for one in sent]
    assert [result.id in casts for result in sent] == [True, False, True, False]
    for rising in ("clock", "timestamp"):
        values = [event[rising] for event in events]
        assert values == sorted(set(values))
    for letter, event in zip(letters, events, strict=True):
        del letter["body"], letter["properties"]["delivery_tag"]
        for name in ("uuid", "root_id", "clock", "timestamp"):
            del event[name]
    assert all(event == events[0] for event in events)
    assert all(letter == letters[0] for letter in letters)
    assert len({message["channel"] for message in heard}) == 1


def test_a_task_takes_one_trip_event_and_all(work: Any, broker: redis.Redis) -> None:
    work.note.delay("first")
    broker.config_resetstat()
    for _ in range(10):
        work.note.delay("next")
    calls = {name: said["calls"] for name, said in broker.info("commandstats").items()}
    assert calls.pop("cmdstat_evalsha") == 10
    assert calls["cmdstat_publish"] == 10
    assert not {"cmdstat_subscribe", "cmdstat_unsubscribe"} & calls.keys()


@pytest.mark.parametrize(
    "options",
    [
        {"link": "note"},
        {"headers": {"trace": "7"}},
        {"countdown": 60},
        {"expires": 60},
        {"shadow": "other"},
        {"serializer": "json"},
        {"compression": "zlib"},
        {"retries": 2},
        {"root_id": "r", "parent_id": "p"},
        {"reply_to": "me"},
        {"argsrepr": "(hidden)"},
        {"group_id": "g"},
        {"retry": False},
        {"stamped_headers": ["mark"], "mark": "7"},
    ],
)
def test_what_is_not_usual_is_written_by_celery(work: Any, casts: list[str], options: dict[str, Any]) -> None:
    options = {**options, "link": work.note.s()} if "link" in options else options
    for _ in range(2):
        work.anything.apply_async(["a"], **options)
    assert casts == []
    assert len(pool.list_("actions")) == 2


@pytest.mark.parametrize("signal", [signals.before_task_publish, signals.after_task_publish, signals.task_sent])
def test_whoever_listens_is_told_of_each_task(work: Any, casts: list[str], signal: Any) -> None:
    work.note.delay("unheard")
    heard: list[Any] = []
    listen = lambda sender, **_: heard.append(sender)  # noqa: E731 - a receiver is a function of keywords
    signal.connect(listen, weak=False)
    try:
        for text in "ab":
            work.note.delay(text)
    finally:
        signal.disconnect(listen)
    assert heard == ["pool.note", "pool.note"]
    assert len(casts) == 1


def test_a_tool_that_wraps_celerys_way_sees_each_call(work: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given tasks that are cast
    work.note.delay("unseen")

    # When a tracing tool puts itself around what Celery does
    seen: list[Any] = []
    celerys: Any = Task.apply_async

    def traced(task: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(task.name)
        return celerys(task, *args, **kwargs)

    monkeypatch.setattr(Task, "apply_async", traced)
    work.note.delay("seen")
    pool.add(work.note.s("seen, too"))

    # Then it sees what is sent from then on
    assert seen == ["pool.note", "pool.note"]


def test_changed_settings_hold_at_once(
    work: Any, broker: redis.Redis, casts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = [[[[["bottom"]]]]]
    work.anything.delay(deep)

    # Given settings that Celery reads for each task
    monkeypatch.setitem(app.conf, "task_repr_maxlevels", 1)
    monkeypatch.setitem(app.conf, "task_send_sent_event", False)
    broker.config_resetstat()
    own, celerys = work.anything.delay(deep), by_celery(work.anything, [deep], {}, {})
    assert own.id in casts
    assert without_its_own(own.id) == without_its_own(celerys.id)
    assert "cmdstat_publish" not in broker.info("commandstats")

    monkeypatch.setitem(app.conf, "task_always_eager", True)
    assert work.whisper.delay("").get() == "MainThread"


def test_a_forked_process_does_not_speak_as_its_parent(work: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    parents = json.loads(sent(work.note.delay("a").id).payload)["headers"]["origin"]
    child = os.getpid() + 1
    monkeypatch.setattr(os, "getpid", lambda: child)
    childs = json.loads(sent(work.note.delay("b").id).payload)["headers"]["origin"]
    assert childs == parents.replace(str(child - 1), str(child))


def test_a_task_with_a_lifetime_of_its_own_expires_from_its_own_sending(work: Any, casts: list[str]) -> None:
    first, second = (json.loads(sent(work.mortal.delay().id).payload)["headers"]["expires"] for _ in range(2))
    assert first < second
    assert casts == []


def test_monitors_hear_nothing_of_a_task_that_is_refused(work: Any, broker: redis.Redis) -> None:
    # Given a queue that takes no new tasks
    work.note.delay("before")
    with app.queues() as queues:
        queues.close_gate("actions", "test", "reject", 60)
    broker.config_resetstat()
    with pytest.raises(QueueClosed):
        work.note.delay("refused")
    assert "cmdstat_publish" not in broker.info("commandstats")


def test_wrong_calls_are_refused_as_ever(work: Any) -> None:
    for _ in range(2):
        with pytest.raises(TypeError, match="positional argument"):
            work.note.delay("a", "too", "many")
        with pytest.raises(InvalidPriority):
            work.note.apply_async(["a"], priority="high")
    assert pool.list_("actions") == []


def test_a_connection_that_broke_is_made_anew(work: Any, broker: redis.Redis) -> None:
    work.note.delay("before")
    broker.client_kill_filter(_type="normal", skipme=True)
    result = work.note.delay("after")
    assert sent(result.id).state == "ready"
    assert len(pool.list_("actions")) == 2
    app.reconfigure()  # the other connections of the pool are broken, too
