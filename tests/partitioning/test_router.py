from collections import Counter

import pytest

from partitioning import InvalidRing, UnroutableTask, initial_sync_queues, initial_sync_router

TASK = "tasks.initial_sync.synchronise"


def test_a_subcloud_goes_to_the_same_dedicated_queue_however_it_is_passed() -> None:
    # Given the router
    route = initial_sync_router(TASK, 64)

    # When the subcloud is passed by position and by keyword
    by_position = route(TASK, ["subcloud-7", 3], {}, {})
    by_keyword = route(TASK, [], {"subcloud": "subcloud-7"}, {})

    # Then both name one of the 64 queues, the same
    assert by_position == by_keyword
    assert by_position is not None
    assert by_position["queue"] in initial_sync_queues(64)


def test_other_tasks_are_left_to_the_routes_that_follow() -> None:
    assert initial_sync_router(TASK, 64)("tasks.node_actions.power.reboot", ["node-1"], {}, {}) is None


def test_five_thousand_subclouds_use_every_queue() -> None:
    route = initial_sync_router(TASK, 64)
    load = Counter((route(TASK, [f"subcloud-{number}"], {}, {}) or {})["queue"] for number in range(5_000))
    assert set(load) == set(initial_sync_queues(64))
    assert max(load.values()) < 2 * 5_000 / 64


def test_another_number_of_queues_moves_only_the_share_that_it_must() -> None:
    few, more = initial_sync_router(TASK, 64), initial_sync_router(TASK, 65)
    moved = sum(few(TASK, [f"s{n}"], {}, {}) != more(TASK, [f"s{n}"], {}, {}) for n in range(5_000))
    assert moved <= 1.5 * 5_000 / 65


def test_a_larger_number_of_queues_renames_none_of_them() -> None:
    assert initial_sync_queues(2_000)[:1_000] == initial_sync_queues(1_000)


def test_a_sync_without_a_subcloud_is_refused_where_it_is_sent() -> None:
    with pytest.raises(UnroutableTask, match=r"synchronise was sent without a subcloud"):
        initial_sync_router(TASK, 4)(TASK, [], {}, {})


def test_no_queue_at_all_is_refused() -> None:
    with pytest.raises(InvalidRing, match="at least 1 queue, got 0"):
        initial_sync_router(TASK, 0)
