"""The results of tasks: Celery's in everything, but cheaper to make."""

import copy
from typing import Any

import pytest
from celery.result import AsyncResult, result_from_tuple
from vine import promise

from tasks import app, pool

pytestmark = pytest.mark.usefixtures("broker")


def test_a_result_has_what_celerys_has_and_its_promise_when_it_is_asked_for() -> None:
    # Given a result of ours, and one that Celery makes
    own = app.AsyncResult("t1")
    stock: AsyncResult[Any] = AsyncResult("t1", app=app)

    # Then they are alike but for the promise
    assert isinstance(own, AsyncResult)
    assert type(own).__name__ == "AsyncResult"
    assert vars(own).keys() == vars(stock).keys() - {"on_ready", "app"}
    assert own.app is stock.app
    assert {name: value for name, value in vars(stock).items() if name in vars(own)} == vars(own)

    # And that one is there when somebody wants it, and stays the same
    assert isinstance(own.on_ready, promise)
    assert own.on_ready is own.on_ready


def test_a_result_survives_its_ways_to_other_places() -> None:
    # Given a result with a parent
    own = app.AsyncResult("t2", parent=app.AsyncResult("t1"))

    # When it is copied, and told to somebody else
    ways = [copy.copy(own), result_from_tuple(own.as_tuple(), app=app)]

    # Then it is the same, of the same class
    for other in ways:
        assert type(other) is type(own)
        assert (other, other.parent) == (own, own.parent)


def test_a_result_without_an_id_is_refused() -> None:
    with pytest.raises(ValueError, match="not None"):
        app.AsyncResult(None)  # type: ignore[arg-type] # what is tried here


@pytest.mark.system
def test_whoever_waits_for_a_result_is_called_when_it_is_there(work: Any, start_worker: Any) -> None:
    # Given a task whose end somebody waits for
    start_worker()
    seen: list[str] = []
    result = pool.add(work.note.s("a"))
    result.then(lambda ended: seen.append(ended.id))

    # When it has ended, then that one is called
    result.get(timeout=60)
    assert seen == [result.id]
