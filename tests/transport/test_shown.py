"""What monitors see of arguments is what Celery shows of them."""

from enum import IntEnum, StrEnum
from typing import Any

import pytest
from celery import Celery
from celery.app import amqp
from celery.utils.saferepr import saferepr
from hypothesis import given
from hypothesis import strategies as st

from tasks.transport import AMQP
from tasks.transport.shown import LONGEST, quick_repr


class Number(IntEnum):
    ONE = 1


class Word(StrEnum):
    ONE = "one"


scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.sampled_from([*Number, *Word]))
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(scalars, inner, max_size=3), st.tuples(inner, inner)
    ),
    max_leaves=8,
)


@given(values)
def test_the_quick_way_shows_what_celery_shows_or_nothing(value: Any) -> None:
    assert quick_repr(value) in {None, saferepr(value, LONGEST)}


@pytest.mark.parametrize("value", [(), {}, ("node-1", 3, None), {"image": "v2.img", "force": True}, [1.5]])
def test_plain_arguments_go_the_quick_way(value: Any) -> None:
    assert quick_repr(value) == saferepr(value, LONGEST)


@pytest.mark.parametrize("length", range(LONGEST - 8, LONGEST + 8))
def test_arguments_at_the_limit_are_shortened_where_celery_shortens_them(length: int) -> None:
    assert quick_repr(("x" * length, 1)) in {None, saferepr(("x" * length, 1), LONGEST)}


@pytest.mark.parametrize(
    "call",
    [
        {},
        {"args": None, "kwargs": None},
        {"args": ("a", 1), "kwargs": {"b": None}},
        {"args": [["deep", [["er", [["still"]]]]]], "kwargs": {"k": {"l": {"m": {"n": 1}}}}},
        {"args": (), "argsrepr": "(hidden)", "kwargsrepr": "{hidden}"},
        {"args": ("a",), "countdown": 5, "expires": 60, "create_sent_event": True, "stamped_headers": None},
    ],
)
def test_a_task_is_written_as_celery_writes_it(call: dict[str, Any]) -> None:
    # Given an application with this transport, and one of Celery's own
    now = Celery(set_as_current=False).now()
    ours, theirs = (
        kind(Celery(set_as_current=False)).as_task_v2("id", "name", **call, now=now) for kind in (AMQP, amqp.AMQP)
    )

    # Then both write the same
    assert ours == theirs
