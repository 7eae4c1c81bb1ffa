"""Tasks with an ordering key in common are claimed one after another: each when the one before has taken its place."""

from collections.abc import Callable, Iterator

import pytest
from celery import Celery

from tasks.transport import NewTask, Queues, ordering
from tasks.transport.records import ClaimAnswer

HOUR = 3600 * 1_000_000
SOON = 1

Claim = Callable[..., list[str]]
Add = Callable[..., None]


@pytest.fixture
def queues(app: Celery) -> Iterator[Queues]:
    queues = Queues(app.connection_for_write())
    yield queues
    queues.close()


@pytest.fixture
def add(queues: Queues) -> Add:
    """Adds tasks in this order, each on one node, exclusively unless it is told otherwise."""

    def send(
        *task_ids: str, node: str = "node-7", shared: bool = False, queue: str = "actions", priority: int = 0
    ) -> None:
        order = ordering([node], shared=shared)
        queues.add([NewTask(queue, task_id, "{}", priority, ordering=order) for task_id in task_ids])

    return send


@pytest.fixture
def claim(queues: Queues) -> Claim:
    """Claims up to ten tasks for a consumer, and returns their members."""

    def ask(consumer: str, *names: str, lease: int = HOUR) -> list[str]:
        answer = ClaimAnswer.read(
            queues._call("claim", consumer, "0", lease, 0, 5, 0, 1, 10, 0, -20, "0", "0", *(names or ("actions",)))
        )
        return [given.member for given in answer.given] if answer else []

    return ask


def ids(members: list[str]) -> list[str]:
    return [member[16:] for member in members]


def states(queues: Queues) -> dict[str, str]:
    return {task.id: task.state for task in queues.tasks("actions")}


def test_the_next_is_claimed_when_the_one_before_has_taken_its_place(queues: Queues, add: Add, claim: Claim) -> None:
    # Given two tasks on one node and one on another
    add("first", "second")
    add("elsewhere", node="node-8")

    # When they are claimed, then the second on the node is held back, whoever asks
    first, elsewhere = claim("one")
    assert ids([first, elsewhere]) == ["first", "elsewhere"]
    assert claim("two") == []
    assert states(queues)["second"] == "parked"

    # When the first says that it has its place, then it is the turn of the second
    queues.placed(first)
    assert ids(claim("two")) == ["second"]


def test_one_that_ends_without_having_taken_its_place_lets_the_next_go(queues: Queues, add: Add, claim: Claim) -> None:
    add("first", "second", "third")
    [first] = claim("one")
    assert claim("two") == []
    queues._call("park", "one", first, "1 actions")
    [second] = claim("two")
    queues._call("bury", "two", "broken", second, "1 actions")
    assert ids(claim("three")) == ["third"]


def test_those_that_share_run_side_by_side_and_one_that_does_not_waits_for_its_turn(
    queues: Queues, add: Add, claim: Claim
) -> None:
    add("reader", "other reader", shared=True)
    add("writer")
    add("late reader", shared=True)
    one, other = claim("one")
    assert ids([one, other]) == ["reader", "other reader"]
    queues.placed(one)
    assert claim("two") == []
    queues.placed(other)
    [writer] = claim("two")
    assert writer.endswith("writer")
    queues.placed(writer)
    assert ids(claim("two")) == ["late reader"]


def test_a_more_urgent_one_does_not_wait_for_one_that_was_claimed_before(add: Add, claim: Claim) -> None:
    add("usual")
    claim("one")
    add("urgent", priority=-20)
    assert ids(claim("two")) == ["urgent"]


def test_a_task_on_two_nodes_keeps_its_place_on_both(queues: Queues, add: Add, claim: Claim) -> None:
    # Given a task on two nodes that stands in line for one of them
    add("first", node="node-7")
    queues.add([NewTask("actions", "both", "{}", ordering=ordering(["node-7", "node-8"], shared=False))])
    add("later", node="node-8")
    [first] = claim("one")

    # Then one that came later for the other node stands behind it
    assert claim("two") == []
    queues.placed(first)
    [both] = claim("two")
    assert both.endswith("both")
    queues.placed(both)
    assert ids(claim("two")) == ["later"]


def test_what_a_dead_worker_had_goes_first_again(queues: Queues, add: Add, claim: Claim) -> None:
    add("first", "second")
    claim("one", lease=SOON)
    assert ids(claim("two")) == ["first"], "who claims buries the dead, and the second waits for its turn"
    assert states(queues) == {"first": "running", "second": "parked"}


@pytest.fixture
def line_of_two_queues(queues: Queues, add: Add, claim: Claim) -> Callable[[], None]:
    """A line for a node, "second" of another queue and then "third"; lets the one before them have its place."""
    add("first")
    add("second", queue="other")
    add("third")
    [first] = claim("one", "actions", "other")
    assert claim("two", "actions", "other") == []
    return lambda: queues.placed(first)


def test_a_line_gets_on_whose_first_is_in_a_queue_that_is_paused(
    queues: Queues, line_of_two_queues: Callable[[], None], claim: Claim
) -> None:
    # Given a line whose first comes from a queue that is paused when its turn comes
    queues.pause("other", "repair")
    line_of_two_queues()
    assert claim("two", "actions", "other") == []

    # When somebody looks after parked tasks, who are not those in line, then the next may go
    assert queues.parked(0.001) == []
    assert ids(claim("two", "actions", "other")) == ["third"]


@pytest.mark.parametrize("verb", ["cancel", "purge"])
def test_one_that_is_removed_when_its_turn_has_come_is_in_nobodys_way(
    queues: Queues, line_of_two_queues: Callable[[], None], claim: Claim, verb: str
) -> None:
    line_of_two_queues()
    queues._call(verb, *{"cancel": ("second", ""), "purge": ("other",)}[verb])
    assert ids(claim("two", "actions", "other")) == ["third"]


def test_a_look_tells_behind_whom_a_task_stands_and_not_who_may_run_beside_it(
    queues: Queues, add: Add, claim: Claim
) -> None:
    # Given a reader that has its turn, a writer behind it, and a reader behind that
    add("reader", shared=True)
    add("writer")
    add("late reader", shared=True)
    claim("one")

    # Then each is told of the one that it has to wait for
    assert [queues.look("actions", name).behind for name in ("reader", "writer", "late reader")] == [
        None,
        ("node-7", "reader"),
        ("node-7", "writer"),
    ]


def test_a_new_priority_moves_a_task_in_its_line(queues: Queues, add: Add, claim: Claim) -> None:
    add("first", "second", "third")
    [first] = claim("one")
    claim("two")
    queues.change_priority("third", -1)
    queues.placed(first)
    [third] = claim("two")
    assert third.endswith("third")
    queues.placed(third)
    assert ids(claim("two")) == ["second"]


def test_a_long_line_does_not_hold_up_the_server(queues: Queues, add: Add, claim: Claim) -> None:
    # Given far more tasks on one node than one claim lets stand in line, and one on another node behind them
    add(*(f"task {number}" for number in range(250)))
    add("elsewhere", node="node-8")

    # Then the claims after the first get to it, and nobody is idle before
    assert ids(claim("one")) == ["task 0"]
    assert claim("two") == []
    assert ids(claim("two")) == ["elsewhere"]


def test_nothing_is_left_of_lines(queues: Queues, add: Add, claim: Claim) -> None:
    add("first", "second")
    for _ in range(2):
        [member] = claim("one")
        queues._call("claim", "one", "1", HOUR, 0, 5, 1, member, "1 actions")
    with queues._connection.default_channel.conn_or_acquire() as client:
        assert [name for part in ("line*", "entered", "lined") for name in client.keys(f"fleetring:{part}")] == []
