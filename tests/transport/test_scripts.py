"""The scripts against a plain Python model: whatever happens in whatever order, both agree on every task."""

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tasks.transport.envelope import ordering
from tasks.transport.records import ClaimAnswer
from tasks.transport.scripts import ROOT, call

QUEUES = ("a", "b")
IDS = tuple(f"t{i}" for i in range(8))
CONSUMERS = ("c1", "c2")
LIMIT = 2
HOUR = 3600 * 1_000_000
URGENT = -2

ids = st.sampled_from(IDS)
queues = st.sampled_from(QUEUES)
consumers = st.sampled_from(CONSUMERS)
orderings = st.one_of(
    st.just(""), st.builds(ordering, st.sampled_from([["x"], ["y"], ["x", "y"]]), shared=st.booleans())
)
priorities = st.one_of(st.integers(-3, 3), st.sampled_from([2**53, -(2**53)]))


@dataclass
class Task:
    """One task as anybody would understand it."""

    queue: str
    priority: int
    arrival: int
    state: str = "ready"
    holder: str | None = None
    redeliveries: int = 0
    recalled: bool = False
    ordering: str = ""

    @property
    def one(self) -> "Publication":
        return Publication(self.priority, self.arrival, self.ordering)


@dataclass
class Publication:
    """A task as it stands in lines for its ordering keys."""

    priority: int
    arrival: int
    ordering: str
    lined: bool = False

    @property
    def keys(self) -> list[str]:
        return list(json.loads(self.ordering)["keys"]) if self.ordering else []

    def waits_for(self, other: "Publication") -> bool:
        apart = "exclusive" in {json.loads(one.ordering)["mode"] for one in (self, other)}
        return apart and (other.priority, other.arrival) < (self.priority, self.arrival)


class QueueMachine(RuleBasedStateMachine):
    """Moves tasks about at random, in the broker and in the model."""

    client: redis.Redis

    @initialize(
        batch=st.lists(st.tuples(ids, queues, priorities, st.integers(0, 4), orderings), min_size=4, max_size=16)
    )
    def begin(self, batch: list[tuple[str, str, int, int, str]]) -> None:
        self.client.flushdb()
        self.clock = itertools.count()
        self.tasks: dict[str, Task] = {}
        self.deliveries: dict[tuple[str, str], tuple[bytes, str]] = {}
        self.past: list[tuple[str, str, tuple[bytes, str]]] = []
        self.lines: set[str] = set()
        self.entered: dict[tuple[str, int], Publication] = {}
        self.claimed: dict[tuple[str, tuple[bytes, str]], tuple[str, int]] = {}
        self.paused: set[str] = set()
        self.limits: dict[str, int] = {}
        self.bounds: dict[str, int] = {}
        for queue in QUEUES:
            call(self.client, "declare", queue, "")
        self.publish_batch(batch)

    # -- helpers

    def claim(self, consumer: str, free: int, queues: tuple[str, ...], reserved: int = 0) -> list[str]:
        expected = self.hand_out(consumer, free, queues, reserved)
        number = next(self.clock)
        question = (number, free, reserved, URGENT, "1", "0", *queues)
        answer = ClaimAnswer.read(call(self.client, "claim", consumer, "0", HOUR, 0, LIMIT, 0, *question))
        assert answer
        assert [one.task_id for one in answer.given] == expected
        for task_id, one in zip(expected, answer.given, strict=True):
            self.deliveries[consumer, task_id] = receipt = one.member.encode(), f"{number} {one.queue}"
            self.past.append((consumer, task_id, receipt))
            self.claimed[consumer, receipt] = task_id, self.tasks[task_id].arrival
        return expected

    def hand_out(self, consumer: str, free: int, queues: tuple[str, ...], reserved: int) -> list[str]:
        """Let run what may, one after another; who would pass somebody with the same ordering key stands in line."""
        given: list[str] = []
        while len(given) < free:
            kept = free - len(given) <= reserved
            task_id = next((i for i in self.startable(queues) if not kept or self.tasks[i].priority <= URGENT), None)
            if task_id is None:
                break
            if self.takes_turn(task_id, self.tasks[task_id]):
                self.tasks[task_id].state, self.tasks[task_id].holder = "running", consumer
                given.append(task_id)
            else:
                self.tasks[task_id].state = "parked"
        return given

    def takes_turn(self, task_id: str, task: Task) -> bool:
        """Let a task stand in the lines for its keys; whether nobody is in front of it whom it has to wait for."""
        if not task.ordering:
            return True
        own = self.entered[task_id, task.arrival] = task.one
        ahead = [other for other in self.entered.values() if own.waits_for(other)]
        blocked = {name for name in own.keys if any(name in other.keys for other in ahead)}
        self.lines |= blocked
        own.lined = bool(blocked)
        return not blocked

    def end_turn(self, one: tuple[str, int]) -> None:
        entry = self.entered.pop(one, None)
        for name in entry.keys if entry else []:
            self.let_next_go(name)

    def let_go(self, consumer: str, receipt: tuple[bytes, str]) -> None:
        if one := self.claimed.pop((consumer, receipt), None):
            self.end_turn(one)

    def is_lined(self, task_id: str, task: Task) -> bool:
        entry = self.entered.get((task_id, task.arrival))
        return entry is not None and entry.lined

    def first_in_line(self, name: str) -> tuple[str, int] | None:
        line = [one for one, entry in self.entered.items() if name in entry.keys]
        return min(line, key=lambda one: (self.entered[one].priority, one[1]), default=None)

    def let_next_go(self, name: str) -> None:
        first = self.first_in_line(name)
        if first is None:
            self.lines.discard(name)
            return
        task = self.tasks.get(first[0])
        if not task or task.arrival != first[1] or task.state == "dead":
            self.end_turn(first)
            return
        if self.entered[first].lined and task.state == "parked":
            task.state = "ready"
        self.entered[first].lined = False

    def startable(self, consumed: tuple[str, ...]) -> list[str]:
        """What could start now, in its order: no more of a queue than it has room for."""
        started: list[str] = []
        room = {queue: self.limits.get(queue, 99) - self.running(queue) for queue in consumed}
        for task_id, task in sorted(self.tasks.items(), key=lambda item: (item[1].priority, item[1].arrival)):
            if task.state == "ready" and room.get(task.queue, 0) > 0 and task.queue not in self.paused:
                room[task.queue] -= 1
                started.append(task_id)
        return started

    def running(self, queue: str) -> int:
        return sum(task.state == "running" for task in self.tasks.values() if task.queue == queue)

    def put_back(self, task_id: str, counts: bool) -> None:
        task = self.tasks[task_id]
        task.redeliveries += counts
        task.recalled = False
        task.state, task.holder = ("dead" if task.redeliveries > LIMIT else "ready"), None

    def held_by(self, consumer: str) -> list[str]:
        return [task_id for task_id, task in self.tasks.items() if task.holder == consumer]

    def receipts(self, consumer: str, task_ids: list[str]) -> list[bytes | str]:
        return [part for i in task_ids for part in self.deliveries[consumer, i]]

    # -- what can happen

    @rule(batch=st.lists(st.tuples(ids, queues, priorities, st.integers(0, 4), orderings), min_size=1, max_size=8))
    def publish(self, batch: list[tuple[str, str, int, int, str]]) -> None:
        self.publish_batch(batch)

    def publish_batch(self, batch: list[tuple[str, str, int, int, str]]) -> None:
        for task_id, queue, priority, dice, order in batch:
            old = self.tasks.get(task_id)
            if old is None or (old.queue == queue and old.state != "dead"):
                self.publish_one(task_id, queue, priority, order, delayed=dice == 0)

    def publish_one(self, task_id: str, queue: str, priority: int, order: str, delayed: bool) -> None:
        old = self.tasks.get(task_id)
        payload = f"{task_id} {next(self.clock)}"
        arguments = ("1", queue, task_id, priority, HOUR if delayed else 0, "", order, payload)
        if old is None and self.overflows(queue, 1):
            with pytest.raises(redis.ResponseError, match="FULL max_queued"):
                call(self.client, "publish", *arguments)
            return
        call(self.client, "publish", *arguments)
        if old and old.state in {"ready", "delayed", "parked"}:
            self.end_turn((task_id, old.arrival))
        waited = old is not None and old.state in {"ready", "delayed", "parked"}
        arrival = old.arrival if old and waited else next(self.clock)
        self.tasks[task_id] = Task(queue, priority, arrival, "delayed" if delayed else "ready", ordering=order)

    @rule(consumer=consumers, free=st.integers(0, 4), consumed=st.sampled_from([("a",), ("b",), QUEUES]))
    def claim_tasks(self, consumer: str, free: int, consumed: tuple[str, ...]) -> None:
        self.claim(consumer, free, consumed)

    @rule(consumer=consumers)
    def claim_with_reserved_slots(self, consumer: str) -> None:
        self.claim(consumer, 1, QUEUES, reserved=1)

    @rule(consumer=consumers)
    def take_place(self, consumer: str) -> None:
        for task_id in self.held_by(consumer)[:1]:
            receipt = self.deliveries[consumer, task_id]
            call(self.client, "placed", receipt[0])
            self.end_turn(self.claimed[consumer, receipt])

    @rule(consumer=consumers)
    def acknowledge(self, consumer: str) -> None:
        done = self.held_by(consumer)
        call(self.client, "claim", consumer, "0", HOUR, 0, LIMIT, len(done), *self.receipts(consumer, done))
        for task_id in done:
            del self.tasks[task_id]
            self.let_go(consumer, self.deliveries[consumer, task_id])

    @rule(verb=st.sampled_from(["claim", "requeue", "bury", "park"]), chosen=st.data())
    def settle_what_is_over(self, verb: str, chosen: Any) -> None:
        over = [past for past in self.past if not self.is_current(*past)]
        again = [past for past in over if past[1] in self.held_by(past[0])]  # the same consumer was given it once more
        if over:
            consumer, _, receipt = chosen.draw(st.sampled_from(again or over))
            how = {"claim": ("0", HOUR, 0, LIMIT, 1), "requeue": (LIMIT, "rejected"), "bury": ("refused",), "park": ()}
            call(self.client, verb, consumer, *how[verb], *receipt)
            self.let_go(consumer, receipt)

    def is_current(self, consumer: str, task_id: str, receipt: tuple[bytes, str]) -> bool:
        task = self.tasks.get(task_id)
        return task is not None and task.holder == consumer and self.deliveries[consumer, task_id] == receipt

    @rule(consumer=consumers, counts=st.booleans())
    def requeue(self, consumer: str, counts: bool) -> None:
        held = self.held_by(consumer)
        call(self.client, "requeue", consumer, LIMIT if counts else "", "rejected", *self.receipts(consumer, held))
        for task_id in held:
            self.let_go(consumer, self.deliveries[consumer, task_id])
            self.put_back(task_id, counts)

    @rule(consumer=consumers)
    def bury(self, consumer: str) -> None:
        held = self.held_by(consumer)[:1]
        for task_id in held:
            call(self.client, "bury", consumer, "refused", *self.deliveries[consumer, task_id])
            self.tasks[task_id].state, self.tasks[task_id].holder = "dead", None
            self.let_go(consumer, self.deliveries[consumer, task_id])

    @rule(consumer=consumers)
    def die(self, consumer: str) -> None:
        if not self.client.zscore(f"{ROOT}leases", consumer):
            return
        self.client.zadd(f"{ROOT}leases", {consumer: 1})
        self.claim("reaper", 0, ())
        for holder, receipt in sorted(self.claimed):
            if holder == consumer:
                self.let_go(consumer, receipt)
        for task_id in self.held_by(consumer):
            self.put_back(task_id, counts=True)
        known = call(self.client, "claim", consumer, "1", HOUR, 0, LIMIT, 0, 0, 1, 0, -20, "0", "0", *QUEUES)
        assert known == [b"lost"]

    @rule(consumer=consumers, lost=st.data())
    def reconnect(self, consumer: str, lost: Any) -> None:
        held = self.held_by(consumer)
        kept = [task_id for task_id in held if lost.draw(st.booleans())]
        over = [part for past in self.past if past[0] == consumer and not self.is_current(*past) for part in past[2]]
        call(self.client, "resume", consumer, "0", HOUR, *self.receipts(consumer, kept), *over)
        for task_id in set(held) - set(kept):
            self.let_go(consumer, self.deliveries[consumer, task_id])
        for task_id in set(held) - set(kept):
            self.put_back(task_id, counts=False)

    @rule(task_id=ids, priority=priorities)
    def change_priority(self, task_id: str, priority: int) -> None:
        task = self.tasks.get(task_id)
        waits = task is not None and task.state in {"ready", "delayed", "parked"}
        answer = call(self.client, "change_priority", task_id, priority)
        assert (answer is not None) == waits
        if task and waits:
            task.priority = priority
            if entry := self.entered.get((task_id, task.arrival)):
                entry.priority = priority

    @rule(task_id=ids)
    def cancel(self, task_id: str) -> None:
        task = self.tasks.get(task_id)
        if task is None or task.state == "dead":
            assert call(self.client, "cancel", task_id) is None
        elif task.state != "running":
            assert call(self.client, "cancel", task_id).decode() == task.state
            del self.tasks[task_id]
            self.end_turn((task_id, task.arrival))

    @rule(consumer=consumers, few=st.integers(1, 3))
    def park(self, consumer: str, few: int) -> None:
        held = self.held_by(consumer)[:few]
        assert call(self.client, "park", consumer, *self.receipts(consumer, held)) == len(held)
        for task_id in held:
            task = self.tasks[task_id]
            self.let_go(consumer, self.deliveries[consumer, task_id])
            task.state, task.holder = ("ready" if task.recalled else "parked"), None
            task.recalled = False

    @rule(task_id=ids)
    def unpark(self, task_id: str) -> None:
        task = self.tasks.get(task_id)
        lives = task is not None and task.state != "dead"
        assert call(self.client, "unpark", task_id) == ([] if lives else [task_id.encode()])
        if task and task.state == "parked":
            task.state = "ready"
        elif task and task.state == "running":
            task.recalled = True

    @rule()
    def look_for_parked_ones(self) -> None:
        self.client.delete(f"{ROOT}turn")
        parked = {
            task_id
            for task_id, task in self.tasks.items()
            if task.state == "parked" and not self.is_lined(task_id, task)
        }
        assert {member[16:].decode() for member in call(self.client, "parked", 5000)} == parked
        assert call(self.client, "parked", 5000) is None
        for name in sorted(self.lines):
            self.get_on(name)

    def get_on(self, name: str) -> None:
        """Pass over the first in a line if it could be claimed and is not."""
        first = self.first_in_line(name)
        task = self.tasks.get(first[0]) if first else None
        if first and task and task.arrival == first[1] and task.state == "ready":
            self.end_turn(first)
        else:
            self.let_next_go(name)

    @rule(queue=queues, pause=st.booleans())
    def pause_or_resume(self, queue: str, pause: bool) -> None:
        call(self.client, "pause", queue, "test", "1" if pause else "0")
        (self.paused.add if pause else self.paused.discard)(queue)

    @rule(queue=queues, slots=st.one_of(st.none(), st.integers(0, 3)))
    def limit(self, queue: str, slots: int | None) -> None:
        call(self.client, "limit", queue, "" if slots is None else slots)
        self.limits.pop(queue, None)
        if slots is not None:
            self.limits[queue] = slots

    @rule(queue=queues, most=st.one_of(st.none(), st.integers(0, 6)))
    def bound(self, queue: str, most: int | None) -> None:
        call(self.client, "bound", queue, "-" if most is None else most, "-")
        self.bounds[queue] = most or 0

    def overflows(self, queue: str, count: int) -> bool:
        living = sum(task.queue == queue and task.state != "dead" for task in self.tasks.values())
        return 0 < self.bounds.get(queue, 0) < living + count

    @rule(batch=st.lists(st.tuples(ids, queues, priorities, orderings), min_size=1, max_size=4))
    def add(self, batch: list[tuple[str, str, int, str]]) -> None:
        chosen = [task_id for task_id, *_ in batch]
        runs = [(queue, priority, 0, "", 1, i, order, f"{i} {next(self.clock)}") for i, queue, priority, order in batch]
        arguments = [0, 0, *(part for run in runs for part in run)]
        taken = {task_id for task_id, task in self.tasks.items() if task.state != "dead"}
        if len(set(chosen)) < len(chosen) or taken & set(chosen):
            with pytest.raises(redis.ResponseError, match="DUPLICATE"):
                call(self.client, "add", *arguments)
        elif any(self.overflows(queue, [q for _, q, *_ in batch].count(queue)) for _, queue, *_ in batch):
            with pytest.raises(redis.ResponseError, match="FULL max_queued"):
                call(self.client, "add", *arguments)
        elif not self.tasks.keys() & set(chosen):
            assert call(self.client, "add", *arguments) == len(batch)
            for task_id, queue, priority, order in batch:
                self.tasks[task_id] = Task(queue, priority, next(self.clock), ordering=order)

    @rule(task_id=ids, back=st.booleans())
    def exhume(self, task_id: str, back: bool) -> None:
        task = self.tasks.get(task_id)
        dead = task is not None and task.state == "dead"
        assert call(self.client, "exhume", task_id, "1" if back else "0") == dead
        if task and dead and back:
            self.tasks[task_id] = Task(task.queue, task.priority, next(self.clock), ordering=task.ordering)
        elif dead:
            del self.tasks[task_id]

    @rule(queue=queues)
    def purge(self, queue: str) -> None:
        waiting = [i for i, task in self.tasks.items() if task.queue == queue and task.state in {"ready", "delayed"}]
        assert call(self.client, "purge", queue) == len(waiting)
        for task_id in waiting:
            self.end_turn((task_id, self.tasks.pop(task_id).arrival))

    # -- what must hold always

    @precondition(lambda self: hasattr(self, "tasks"))
    @invariant()
    def both_agree(self) -> None:
        for queue in QUEUES:
            mine = {task_id: task for task_id, task in self.tasks.items() if task.queue == queue}
            for state in ("ready", "delayed", "parked"):
                members = self.client.zrange(f"{ROOT}q:{queue}:{state}", 0, -1)
                assert sorted(m[16:].decode() for m in members) == sorted(
                    i for i, t in mine.items() if t.state == state
                )
            dead = {i for i, task in mine.items() if task.state == "dead"}
            assert {i.decode() for i in self.client.hkeys(f"{ROOT}q:{queue}:dead")} == dead
            assert {i.decode() for i in self.client.hkeys(f"{ROOT}q:{queue}:tasks")} == set(mine) - dead
            stats = call(self.client, "stats", queue)
            assert stats[3] == self.running(queue)
        entered = sorted(member[16:].decode() for member in self.client.hkeys(f"{ROOT}entered"))
        assert entered == sorted(task_id for task_id, _ in self.entered)
        lined = {member[16:].decode() for member in self.client.smembers(f"{ROOT}lined")}
        assert lined == {task_id for (task_id, _), entry in self.entered.items() if entry.lined}
        untold = {task_id.decode() for task_id in self.client.zrange(f"{ROOT}untold", 0, -1)}
        assert untold == {task_id for task_id, task in self.tasks.items() if task.state == "dead"}


@pytest.fixture
def scratch(url: str) -> Iterator[redis.Redis]:
    with redis.Redis(port=urlsplit(url).port or 0, db=5) as client:
        yield client
        client.flushdb()


def test_broker_and_model_agree_whatever_happens(scratch: redis.Redis) -> None:
    machine = type("Machine", (QueueMachine,), {"client": scratch})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
