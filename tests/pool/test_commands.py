"""The pool's verbs as an operator calls them."""

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tasks import pool
from tasks.cli import fleet


def run(*arguments: str) -> Result:
    return CliRunner().invoke(fleet, arguments)


def rows(*arguments: str) -> list[dict[str, Any]]:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    found: list[dict[str, Any]] = json.loads(result.output)
    return found


def test_queues_are_listed_shown_paused_and_resized(work: Any) -> None:
    # Given tasks in one queue
    pool.add_many([work.note.s(n) for n in range(3)], priority=[0, 0, -20])
    assert "3" in run("queues", "list").output

    # When it is paused for two reasons and resized
    assert "paused: audit" in run("queues", "pause", "actions", "--reason", "audit").output
    run("queues", "pause", "actions", "--reason", "upgrade")
    assert "at most 4 tasks" in run("queues", "resize", "actions", "4").output

    # Then that is shown
    [row] = rows("queues", "list")
    assert (row["queue"], row["ready"], row["slots"], row["paused"]) == ("actions", 3, 4, "audit, upgrade")
    [shown] = rows("queues", "show", "actions")
    assert shown["depth"] == {"-20": 1, "0": 2}
    assert "actions" in run("queues", "show", "actions").output
    assert len(rows("queues", "list", "--all")) > 60

    # And can be taken back
    assert "still paused: audit" in run("queues", "resume", "actions", "--reason", "upgrade").output
    assert "actions runs" in run("queues", "resume", "actions", "--reason", "audit").output
    assert "any number of tasks" in run("queues", "resize", "actions", "none").output


def test_a_queue_is_bounded_as_an_operator_says(work: Any) -> None:
    # When an operator bounds a queue
    told = run("queues", "bound", "actions", "--max-queued", "2", "--max-parked", "none").output
    assert "queue actions holds 2 tasks and any number of parked ones" in told

    # Then that is shown
    [shown] = rows("queues", "show", "actions")
    assert (shown["max_queued"], shown["max_parked"]) == (2, None)
    assert "max queued" in run("queues", "show", "actions").output

    # And can be taken back; what is no number is refused
    assert "any number of tasks" in run("queues", "bound", "actions").output
    refused = run("queues", "bound", "actions", "--max-queued", "-3")
    assert (refused.exit_code, "neither a whole number from 0 nor none" in refused.output) == (2, True)


def test_tasks_are_listed_shown_reprioritised_and_cancelled(work: Any) -> None:
    pool.add(work.note.s("a"), task_id="a")
    pool.add(work.note.s("b").set(countdown=60), task_id="b")
    assert [row["id"] for row in rows("tasks", "list")] == ["a", "b"]
    assert [row["id"] for row in rows("tasks", "list", "--queue", "actions", "--state", "delayed")] == ["b"]
    assert "is ready, with priority -20" in run("tasks", "priority", "a", "--", "-20").output
    [shown] = rows("tasks", "show", "a")
    assert (shown["task"], shown["priority"], shown["result"]) == ("pool.note", -20, "PENDING")
    assert "was delayed and is cancelled" in run("tasks", "cancel", "b").output
    assert [row["id"] for row in rows("tasks", "list")] == ["a"]


def test_a_queue_can_be_waited_for(work: Any) -> None:
    assert "actions is quiet" in run("queues", "quiesce", "actions", "--timeout", "5").output
    pool.add(work.note.s("a"))
    late = run("queues", "quiesce", "actions", "--timeout", "0.1", "--mode", "snapshot")
    assert late.exit_code == 1
    assert "not quiet within 0.1 s: 0 running, 1 ready" in late.output


def test_dead_letters_are_listed(work: Any) -> None:
    assert rows("queues", "dead") == []
    assert rows("queues", "dead", "actions") == []


@pytest.mark.parametrize(
    ("arguments", "explanation"),
    [
        (("queues", "show", "actoins"), "did you mean 'actions'"),
        (("queues", "resize", "actions", "-1"), "No such option"),
        (("queues", "resize", "actions", "many"), "neither a whole number from 0 nor none"),
        (("queues", "retry-dead", "ghost"), "Dead letter 'ghost' was not found"),
        (("queues", "drop-dead", "ghost"), "Dead letter 'ghost' was not found"),
        (("tasks", "show", "ghost"), "Task 'ghost' was not found"),
        (("tasks", "priority", "ghost", "5"), "Task 'ghost' was not found"),
        (("tasks", "priority", "ghost", "high"), "'high' is not a valid integer"),
        (("tasks", "cancel", "ghost"), "Task 'ghost' was not found"),
        (("tasks", "list", "--state", "lost"), "'lost' is not one of"),
    ],
)
def test_wrong_input_is_explained_with_exit_status_2(arguments: tuple[str, ...], explanation: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert explanation in result.output


@pytest.mark.parametrize(
    "command",
    [
        *(("queues", verb) for verb in ("list", "show", "pause", "resume", "quiesce", "resize", "dead", "retry-dead")),
        *(("tasks", verb) for verb in ("list", "show", "priority", "cancel")),
    ],
)
def test_every_command_has_help_with_an_example(command: tuple[str, ...]) -> None:
    assert f"fleetring {' '.join(command)}" in run(*command, "--help").output
