"""Without a broker every verb says which broker does not answer, and what to do about it."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis

from tasks import app, pool
from tasks.errors import BrokerUnreachable
from tests.processes import free_port

VERBS: dict[str, Callable[[], Any]] = {
    "bound": lambda: pool.bound("actions", 1),
    "cancel": lambda: pool.cancel("x"),
    "change_priority": lambda: pool.change_priority("x", 1),
    "dead_letters": pool.dead_letters,
    "drop_dead": lambda: pool.drop_dead("x"),
    "find": lambda: pool.find("x"),
    "has_running_tasks": pool.has_running_tasks,
    "list_": pool.list_,
    "pause": pool.pause,
    "quiesce": pool.quiesce,
    "resize": lambda: pool.resize("actions", 1),
    "resume": pool.resume,
    "retry_dead": lambda: pool.retry_dead("x"),
    "stats": pool.stats,
}


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A port at which no broker is."""
    port = free_port()
    with monkeypatch.context() as patch:
        patch.setenv("FLEETRING_BROKER_URL", f"redis://127.0.0.1:{port}/0")
        app.reconfigure()
        yield port
    app.reconfigure()


def test_a_verb_without_a_broker_names_it_and_what_to_do(nobody: int) -> None:
    # When every verb is called while there is no broker, side by side, for each tries for a while
    with ThreadPoolExecutor(7) as threads:
        ends = {name: threads.submit(verb) for name, verb in VERBS.items()}

    # Then each says which broker it is, and how to get one
    assert ends.keys() == {*pool.__all__} - {"add", "add_many"}
    for end in ends.values():
        with pytest.raises(BrokerUnreachable, match=rf"redis://.*:{nobody}/0 does not answer.*Start it"):
            end.result()


def test_a_verb_on_a_connection_that_broke_meanwhile_makes_it_anew(work: Any, broker: redis.Redis) -> None:
    pool.pause("actions", "repair")
    broker.client_kill_filter(_type="normal", skipme=True)
    assert pool.stats().pauses.keys() == {"repair"}


def test_adding_without_a_broker_names_it(nobody: int, work: Any) -> None:
    with pytest.raises(BrokerUnreachable, match=str(nobody)):
        pool.add(work.note.s("a"))
