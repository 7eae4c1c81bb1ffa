import math
import os
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partitioning import EmptyRing, HashRing, InvalidRing, UnknownRingNode

names = st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=12, unique=True)
KEYS = [f"subcloud-{number}" for number in range(20_000)]


def test_the_map_is_the_same_in_a_process_with_another_hash_seed_and_another_order_of_nodes() -> None:
    # Given names of which one repeats another, which collide on rings that concatenate name and index
    nodes = ["1", "11", "111", "edge", "Zürich"]
    here = [HashRing(nodes).get_node(key) for key in KEYS[:200]]

    # When another process, with another hash seed, builds the ring from the reversed list
    script = (
        "import json, sys; from partitioning import HashRing;"
        f"ring = HashRing({nodes[::-1]!r}); print(json.dumps([ring.get_node(f'subcloud-{{n}}') for n in range(200)]))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "4711"}
    there = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, env=environment, text=True)

    # Then every key has the same owner
    assert there.stdout.strip() == str(here).replace("'", '"').replace("ü", "\\u00fc")


@given(names, st.text(min_size=1))
def test_a_node_that_joins_takes_keys_for_itself_and_moves_no_other(nodes: list[str], newcomer: str) -> None:
    # Given a ring
    ring = HashRing(nodes, vnodes=16)

    # When a node joins
    grown = ring.with_node(newcomer)

    # Then a key either stays where it was or goes to the newcomer
    assert all(grown.get_node(key) in (ring.get_node(key), newcomer) for key in KEYS[:100])


@given(names)
def test_adding_and_removing_a_node_restores_the_ring(nodes: list[str]) -> None:
    ring = HashRing(nodes, vnodes=16)
    assert HashRing([*nodes, "passing guest"], vnodes=16).without_node("passing guest") == ring


@given(names, st.integers(min_value=0, max_value=15))
def test_replicas_are_distinct_ordered_and_begin_with_the_owner(nodes: list[str], count: int) -> None:
    # Given a ring and a key
    ring = HashRing(nodes, vnodes=16)

    # When replicas are asked for
    replicas = ring.get_nodes("key", count)

    # Then they are as many as there can be, all different, the owner first
    assert len(replicas) == len(set(replicas)) == min(count, len(nodes))
    assert replicas[:1] == [ring.get_node("key")][:count]


def test_the_heaviest_of_ten_nodes_is_within_ten_percent_of_the_mean() -> None:
    ring = HashRing(f"initial-sync-worker-{number}" for number in range(10))
    load = Counter(ring.get_node(f"subcloud-{number}") for number in range(200_000))
    assert max(load.values()) <= 1.10 * load.total() / 10


def test_a_joining_node_moves_little_more_than_its_share_of_the_keys() -> None:
    ring = HashRing(f"worker-{number}" for number in range(10))
    grown = ring.with_node("worker-10")
    moved = sum(ring.get_node(key) != grown.get_node(key) for key in KEYS)
    assert moved <= 1.15 * len(KEYS) / 11


def test_a_node_of_double_weight_owns_about_double_the_keys() -> None:
    load = Counter(map(HashRing(["a", "b"], weights={"b": 2.0}).get_node, KEYS))
    assert 1.7 < load["b"] / load["a"] < 2.3


def test_each_ring_that_is_derived_from_another_is_of_the_next_generation() -> None:
    ring = HashRing(["a"], generation=7)
    assert (ring.generation, ring.with_node("b").generation, ring.without_node("a").generation) == (7, 8, 8)
    assert ring == HashRing(["a"], generation=8)


@given(names, st.sets(st.text(max_size=8), max_size=60), st.sampled_from([1.0, 1.1, 1.25, 2.0]))
def test_bounded_loads_give_every_key_one_node_and_no_node_more_than_its_bound(
    nodes: list[str], keys: set[str], load_factor: float
) -> None:
    # When a set of keys is divided
    assigned = HashRing(nodes, vnodes=16).assign(sorted(keys), load_factor=load_factor)

    # Then all have a node, none has too many, and the order of the keys played no part
    assert assigned.keys() == keys
    assert max(Counter(assigned.values()).values(), default=0) <= math.ceil(load_factor * len(keys) / len(nodes))
    assert HashRing(nodes[::-1], vnodes=16).assign(sorted(keys)[::-1], load_factor=load_factor) == assigned


def test_bounded_loads_move_a_key_only_past_full_nodes() -> None:
    ring = HashRing(["a", "b", "c"], weights={"c": 2.0})
    keys = KEYS[:400]
    assigned = ring.assign(keys, load_factor=1.05)
    load = Counter(assigned.values())
    assert load["a"] <= 105
    assert load["c"] <= 210
    for key, node in assigned.items():
        passed = ring.get_nodes(key, 3)[: ring.get_nodes(key, 3).index(node)]
        assert all(load[full] == {"a": 105, "b": 105, "c": 210}[full] for full in passed)


def test_loads_that_cannot_be_bounded_are_refused() -> None:
    with pytest.raises(EmptyRing):
        HashRing().assign(["key"])
    with pytest.raises(InvalidRing, match=r"at least 1, got 0\.9"):
        HashRing(["a"]).assign(["key"], load_factor=0.9)


def test_ignored_nodes_are_passed_over_until_none_is_left() -> None:
    ring = HashRing(["a", "b", "c"])
    owner = ring.get_node("key")
    assert owner not in ring.get_nodes("key", 3, ignore=[owner])
    assert ring.get_nodes("key", 3, ignore=["a", "b", "c"]) == []


def test_bytes_and_text_name_the_same_node_and_the_same_key() -> None:
    ring = HashRing(["a", b"a", "b"])
    assert ring.nodes == ("a", "b")
    assert ring.get_node(b"key") == ring.get_node("key")
    assert b"a" in ring
    assert 7 not in ring


def test_an_empty_ring_says_that_it_is_empty() -> None:
    with pytest.raises(EmptyRing, match="no nodes"):
        HashRing().get_node("key")
    assert HashRing().get_nodes("key", 2) == []


def test_removing_an_unknown_node_names_it() -> None:
    with pytest.raises(UnknownRingNode, match="'ghost'"):
        HashRing(["a"]).without_node("ghost")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"vnodes": 0}, "vnodes must be at least 1, got 0"),
        ({"weights": {"a": 0.0}}, "weight of node 'a' must be above 0, got 0.0"),
        ({"weights": {"a": float("nan")}}, "must be above 0, got nan"),
        ({"weights": {"a": float("inf")}}, "must be above 0, got inf"),
        ({"weights": {"ghost": 1.0}}, "not in the ring: ghost"),
    ],
)
def test_a_ring_that_cannot_be_built_says_why(options: dict[str, object], reason: str) -> None:
    with pytest.raises(InvalidRing, match=reason):
        HashRing(["a"], **options)  # type: ignore[arg-type]
