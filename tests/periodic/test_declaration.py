"""What may be declared, and what beat makes of it when it starts to lead."""

import logging
from typing import Any

import pytest

from tasks import app, settings
from tasks.declaration import Declaration
from tasks.errors import InvalidPeriodicTask
from tasks.periodic import declarations, periodic_task
from tests.periodic.lab import Lab

NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"spacing": NAN}, "spacing of 1 s or more"),
        ({"spacing": INFINITE}, "spacing of 1 s or more"),
        ({"spacing": 0.5}, "spacing of 1 s or more"),
        ({"spacing": "often"}, "spacing of 1 s or more"),
        ({"spacing": True}, "spacing of 1 s or more"),
        ({"jitter": 0.6}, "jitter from 0 to 0.5"),
        ({"jitter": NAN}, "jitter from 0 to 0.5"),
        ({"timeout": 0}, "timeout above 0 s"),
        ({"overlap": "allow"}, "overlap 'forbid' or 'queue'"),
        ({"misfire": "all"}, "misfire 'skip' or 'once'"),
        ({"scope": "host"}, "scope of 'cluster', 'each_worker', 'partitioned', not 'host'"),
        ({"scope": "partitioned"}, "scope='partitioned' and of= together"),
        ({"of": list}, "scope='partitioned' and of= together"),
        ({"scope": "partitioned", "of": ["node-1"]}, "of= a callable that returns the set"),
        ({"enabled": "no"}, "enabled True, False or a callable"),
        ({"ticks_between_runs": 3}, "unknown option ticks_between_runs; say spacing="),
        ({"spaceing": 3}, "unknown option spaceing.*spacing"),
    ],
)
def test_an_option_that_cannot_work_is_refused_at_the_declaration(
    lab: Lab, options: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(InvalidPeriodicTask, match=f"periodic task tidy.*{complaint}"):
        lab.declare("tidy", **options)


def test_options_go_by_name_only() -> None:
    with pytest.raises(InvalidPeriodicTask, match="by name"):
        periodic_task(60)  # type: ignore[call-overload]


@pytest.mark.usefixtures("lab")
def test_without_parentheses_a_task_runs_at_every_base_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    @periodic_task
    def sweep() -> str:
        """Sweep."""
        return "swept"

    monkeypatch.setenv("FLEETRING_BASE_TICK", "90")
    settings.current.cache_clear()
    assert sweep.declaration.effective_spacing(app.settings) == 90
    assert sweep() == "swept"
    assert (sweep.name.rpartition(".")[2], sweep.__doc__) == ("sweep", "Sweep.")


def test_calling_a_task_raises_what_its_body_raises(lab: Lab) -> None:
    def fail() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        lab.declare(body=fail)()


def test_a_task_with_a_set_gets_all_of_it_when_it_is_called(lab: Lab) -> None:
    given = []

    def survey(share: list[str]) -> None:
        given.append(share)

    lab.declare("survey", body=survey, scope="partitioned", of=lambda: iter(["node-1", "node-2"]))
    app.tasks["survey"]()
    app.tasks["survey"](["node-3"])
    assert given == [["node-1", "node-2"], ["node-3"]]


def test_the_same_function_declared_again_replaces_what_was_declared(lab: Lab) -> None:
    def tidy() -> None:
        """Declared twice, as a reloaded or an overriding module does."""

    lab.declare(body=tidy, spacing=60)
    assert app.tasks["tidy"].declaration.spacing == 60
    lab.declare(body=tidy, spacing=5, enabled=False)
    assert app.tasks["tidy"].declaration == Declaration("tidy", spacing=5, enabled=False, jitter=0.0)


def test_two_functions_of_one_name_are_refused_with_the_place_of_both(lab: Lab) -> None:
    def one() -> None: ...
    def other() -> None: ...

    lab.declare(body=one)
    with pytest.raises(InvalidPeriodicTask, match=r"task tidy: .*\.one \(line \d+\) and .*\.other \(line \d+\)"):
        lab.declare(body=other)
    assert declarations.of("tidy").spacing == 60


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"spacing": -1}, "its interval is negative"),
        ({"spacing": -1, "enabled": False}, "its interval is negative"),
        ({"enabled": False}, "it is disabled"),
        ({"enabled": lambda: False}, "it is disabled"),
        ({"spacing": lambda: -5}, "its interval is negative"),
    ],
)
def test_a_task_that_is_not_wanted_is_skipped_with_the_reason(
    lab: Lab, caplog: pytest.LogCaptureFixture, options: dict[str, Any], reason: str
) -> None:
    # Given a task that does not want to run
    lab.declare("tidy", **options)

    # When a beat starts to lead, then it says so, and has no entry
    with caplog.at_level(logging.INFO, "tasks.timekeeper"):
        lab.beat().tick()
    assert f"Skipping periodic task tidy because {reason}" in caplog.messages
    assert lab.record().next_due is None


@pytest.mark.parametrize(("allowed", "queue_or_reason"), [("true", "periodic-external"), ("false", None)])
def test_a_task_for_an_external_process_goes_to_its_own_queue_where_the_setting_allows_it(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, allowed: str, queue_or_reason: str | None
) -> None:
    monkeypatch.setenv("FLEETRING_RUN_EXTERNAL_PERIODIC_TASKS", allowed)
    settings.current.cache_clear()
    lab.declare("tidy", external_process_ok=True, run_immediately=True)
    leader = lab.beat()
    leader.tick()
    leader.tick()
    depth = lab.client.zcard("fleetring:q:periodic-external:ready")
    assert depth == (1 if queue_or_reason else 0)
    assert lab.client.zcard("fleetring:q:periodic:ready") == 0


def test_a_callable_that_answers_nonsense_is_named_and_stops_no_other_task(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a task whose spacing fails when asked, one whose spacing is nonsense, and a good one
    lab.declare("broken", spacing=lambda: 1 / 0)
    lab.declare("nonsense", spacing=lambda: NAN)
    lab.declare("tidy", spacing=lambda: 7)

    # When a beat starts to lead
    lab.beat().tick()

    # Then both are named, and the good one is installed
    assert {"broken", "nonsense"} <= {word for text in caplog.messages for word in text.split()}
    assert lab.record().spacing == 7
