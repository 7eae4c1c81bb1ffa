"""One beat in this process, on a real Valkey: what it installs, claims and sends."""

import time
from datetime import UTC, datetime
from typing import Any

import pytest
import redis
from celery.schedules import schedule
from redbeat import RedBeatSchedulerEntry

from tasks import app
from tasks.ticks import Tick
from tasks.timekeeper import Budget
from tests.periodic.lab import Lab

SCHEDULE = "redbeat::schedule"


def test_beat_installs_the_tasks_of_the_system_and_runs_at_once_only_what_asks_for_it(system: Lab) -> None:
    # When a beat leads
    system.passes(system.beat())

    # Then one task of the system has been sent, and its next run is at most a spacing away; what workers do on their
    # own is none of beat's business
    assert system.sent() == ["beat_schedule.dispatch_initial_syncs"]
    assert 0 < system.record("beat_schedule.dispatch_initial_syncs").next_due - time.time() <= 10.5
    assert system.record("beat_schedule.sync_power_states").next_due is None


def test_a_beat_that_stands_by_changes_nothing(lab: Lab) -> None:
    # Given a leading beat, and a second one that knows one task more
    lab.declare("tidy")
    leader, second = lab.beat(), lab.beat()
    leader.tick()
    lab.declare("polish")

    # When the second ticks, then it installs nothing until the leader gives way
    assert second.tick() == 1.0
    assert lab.record("polish").next_due is None
    leader.close()
    second.tick()
    assert lab.record("polish").next_due is not None


def test_an_entry_that_is_no_longer_declared_leaves_the_storage(lab: Lab) -> None:
    lab.declare("tidy")
    lab.declare("polish")
    first = lab.beat()
    first.tick()
    first.close()
    app.tasks.pop("polish")
    lab.beat().tick()
    assert lab.client.smembers("redbeat::statics") == {"tidy"}
    assert lab.client.zrange(SCHEDULE, 0, -1) == ["redbeat:tidy"]
    assert not lab.client.exists("redbeat:polish")


def test_installing_again_moves_no_tick(lab: Lab) -> None:
    lab.declare("tidy", spacing=3600)
    first = lab.beat()
    first.tick()
    due = lab.record().next_due
    first.close()
    lab.beat().tick()
    assert lab.record().next_due == due


def test_a_shorter_spacing_counts_from_the_next_installation(lab: Lab) -> None:
    def tidy() -> None: ...

    lab.declare(body=tidy, spacing=86_400)
    first = lab.beat()
    first.tick()
    first.close()
    lab.declare(body=tidy, spacing=5)
    lab.beat().tick()
    assert lab.record().next_due - time.time() <= 5


def test_redbeat_can_read_what_is_stored(lab: Lab) -> None:
    lab.declare("tidy", spacing=90, run_immediately=True)
    lab.passes(lab.beat())
    entry = RedBeatSchedulerEntry.from_key("redbeat:tidy", app=app)
    assert (entry.task, entry.schedule.run_every.total_seconds()) == ("tidy", 90)
    assert entry.options == {"queue": "periodic"}
    assert abs(entry.last_run_at.timestamp() - time.time()) < 5
    assert entry.total_run_count == 1


def test_a_tick_is_sent_once_by_however_many_beats(lab: Lab) -> None:
    # Given a task that is due, and a beat that claimed and sent it, and died without a word
    lab.declare("tidy", run_immediately=True)
    dead, second = lab.beat(), lab.beat()
    lab.passes(dead, 2)
    dead.timekeeper.leads = False

    # When another beat takes over
    lab.client.delete("redbeat::lock")
    lab.passes(second)

    # Then the queue holds the tick once
    assert lab.sent() == ["tidy"]


def test_a_tick_whose_send_failed_is_sent_again(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a broker that refuses the message of a due tick
    task = lab.declare("tidy", run_immediately=True)
    leader = lab.beat()
    leader.tick()
    with monkeypatch.context() as patch:
        patch.setattr(type(task), "apply_async", _refuse)
        assert leader.tick() < 0.1  # it may have been one stale connection
        assert leader.tick() == 1.0

    # When it takes messages again, then the tick is sent, once
    lab.passes(leader)
    assert lab.sent() == ["tidy"]


def test_a_tick_that_has_begun_though_nobody_knows_that_it_was_sent_costs_no_later_one(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a tick that was sent by a beat whose connection broke in that moment, and that has begun
    lab.declare("tidy", run_immediately=True)
    leader = lab.beat()
    leader.tick()
    with monkeypatch.context() as patch:
        patch.setattr(type(leader.timekeeper), "_send", _refuse)
        leader.tick()
    first = Tick.parse(lab.client.hget("redbeat::unsent", "tidy"))
    assert lab.ledger.begin("tidy", "run", first)

    # When the next one is due before the beat is back
    lab.make_due("tidy", ago=0.1)
    lab.passes(leader)

    # Then that one is sent
    assert lab.sent() == ["tidy"]
    assert (lab.record().collapsed, lab.client.hget("redbeat:tidy", "slot")) == (0, "2")


def test_a_beat_that_ends_tells_what_it_has_sent(lab: Lab) -> None:
    lab.declare("tidy", run_immediately=True)
    leader = lab.beat()
    leader.tick()
    leader.tick()
    assert lab.client.hlen("redbeat::unsent") == 1
    leader.close()
    assert lab.client.hlen("redbeat::unsent") == 0


def _refuse(*_: Any, **__: Any) -> None:
    raise redis.ConnectionError("connection reset")


def test_a_task_that_cannot_be_sent_stops_no_other(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    # Given two tasks that are due, one of which is sent to a queue that does not exist
    broken = lab.declare("broken", run_immediately=True)
    lab.declare("tidy", run_immediately=True)
    leader = lab.beat()
    leader.tick()
    broken.apply_async = lambda **_: app.send_task("broken", queue="nowhere")  # type: ignore[method-assign]

    # When the beat goes on
    lab.passes(leader)

    # Then it names the one and sends the other
    assert "beat: periodic task broken could not be sent" in caplog.messages
    assert lab.sent() == ["tidy"]


@pytest.mark.parametrize("step", [-3600, 3600])
def test_the_clock_of_one_host_decides_nothing(lab: Lab, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    # Given a leading beat with a task that has run and is due in 20 to 60 s, and one that is due now
    lab.declare("tidy", run_immediately=True, spacing=60)
    leader = lab.beat()
    lab.passes(leader)
    assert lab.sent() == ["tidy"]
    due = lab.record().next_due

    # When the clock of its host steps by an hour
    truth = time.time
    monkeypatch.setattr(time, "time", lambda: truth() + step)
    monkeypatch.setattr(app, "now", lambda: datetime.fromtimestamp(truth() + step, UTC))
    lab.passes(leader)
    lab.declare("polish", run_immediately=True, spacing=60)
    leader.close()
    follower = lab.beat()
    lab.passes(follower)

    # Then nothing runs twice, and nothing late
    assert lab.sent() == ["polish"]
    assert lab.record().next_due == due


def test_a_server_whose_clock_was_set_back_does_not_stop_the_schedule(lab: Lab) -> None:
    # Given a beat that saw the server's clock an hour ahead, when everything was laid out
    lab.declare("tidy", spacing=10)
    leader = lab.beat()
    lab.passes(leader)
    lab.make_due("tidy", ago=-3600)
    leader.timekeeper._server_time += 3600

    # When it looks again
    lab.passes(leader, 1)

    # Then the next tick is at most a spacing away
    assert lab.record().next_due - time.time() <= 10


def test_a_paused_task_is_not_sent_until_it_is_resumed(lab: Lab) -> None:
    lab.declare("tidy", spacing=10)
    leader = lab.beat()
    leader.tick()
    lab.ledger.pause("tidy")
    lab.make_due("tidy", ago=1)
    lab.passes(leader)
    assert lab.sent() == []
    lab.ledger.resume("tidy")
    lab.make_due("tidy", ago=1)
    lab.passes(leader)
    assert lab.sent() == ["tidy"]


@pytest.mark.parametrize(
    ("options", "late", "runs", "missed"),
    [
        ({"misfire": "skip", "spacing": 3600}, 30, 1, 0),  # within the grace of a minute
        ({"misfire": "skip", "spacing": 3600}, 1800, 0, 1),
        ({"misfire": "once", "spacing": 3600}, 1800, 1, 0),
        ({"misfire": "skip", "spacing": 10}, 95, 1, 9),
        ({"misfire": "once", "spacing": 3600}, 3600 * 100 + 1800, 1, 100),
        ({"misfire": "skip", "spacing": 3600}, 3600 * 100 + 30, 1, 100),
    ],
)
def test_what_was_missed_collapses_to_one_run_or_none(
    lab: Lab, options: dict[str, Any], late: int, runs: int, missed: int
) -> None:
    # Given a task that nobody has sent for so long
    lab.declare("tidy", **options)
    leader = lab.beat()
    leader.tick()
    lab.make_due("tidy", ago=late)

    # When a beat looks again, then it runs once at the most, and the rest is counted
    lab.passes(leader)
    assert lab.sent() == ["tidy"] * runs
    assert lab.record().missed == missed


def test_a_backlog_without_workers_stays_small(lab: Lab) -> None:
    # Given ticks that come due while no worker takes any
    lab.declare("tidy", spacing=10)
    leader = lab.beat()
    leader.tick()
    for _ in range(20):
        lab.make_due("tidy", ago=0.1)
        lab.passes(leader, 2)

    # Then the first, second, fourth, eighth and sixteenth were sent
    assert lab.sent() == ["tidy"] * 5
    assert lab.record().collapsed == 15


def test_a_budget_spreads_ticks_that_are_due_together(lab: Lab) -> None:
    # Given a hundred tasks that are due now
    for number in range(100):
        lab.declare(f"tidy-{number}", run_immediately=True, spacing=3600)
    leader = lab.beat()
    leader.tick()

    # When the beat works for a second
    began = time.monotonic()
    while time.monotonic() - began < 1:
        time.sleep(leader.tick())

    # Then about twenty have been sent
    assert 10 <= len(lab.sent()) <= 25


def test_a_budget_grows_with_what_the_spacings_ask_for() -> None:
    budget = Budget(1000)
    time.sleep(0.2)
    assert budget.available() == 100
    budget.spend(100)
    assert budget.available() < 20


def test_entries_that_others_put_into_the_storage_run_redbeats_way(lab: Lab) -> None:
    # Given a dynamic entry of redbeat's own
    lab.declare("tidy", enabled=False)
    foreign = RedBeatSchedulerEntry("mine", "tidy", schedule(3600), options={"queue": "periodic"}, app=app)
    foreign.last_run_at = None
    foreign.save()

    # When a beat leads, then it runs, once
    lab.passes(lab.beat())
    assert lab.sent() == ["tidy"]


def test_entries_of_another_version_are_named_and_stop_no_other(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    # Given an entry that is no hash, one that nobody can read, and an old one of a declared task
    lab.client.set("redbeat:text", "what?")
    lab.client.hset("redbeat:riddle", "definition", "{")
    lab.client.set("redbeat:tidy", "an entry of long ago")
    lab.client.zadd(SCHEDULE, {"redbeat:text": 1, "redbeat:riddle": 1, "redbeat:gone": 1, "redbeat:tidy": 1})

    # When a beat leads
    lab.declare("tidy", run_immediately=True)
    lab.passes(lab.beat())

    # Then each is named, and the declared task runs
    for name in ("text", "riddle", "gone"):
        assert f"beat: the entry redbeat:{name} in redbeat's storage cannot be run" in caplog.messages
    assert lab.sent() == ["tidy"]
