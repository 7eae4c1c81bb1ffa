"""How fast and how even the hash ring is: look-ups, build, balance, and what a join moves.

Run it as ``python benchmarks/ring.py`` from the root. Where uhashring is installed, it is measured beside.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.util import find_spec

from partitioning import HashRing

KEYS = [f"subcloud-{number}" for number in range(200_000)]
TEN = [f"worker-{number}" for number in range(10)]
HUNDRED = [f"worker-{number}" for number in range(100)]


def best_of(rounds: int, call: Callable[[], object]) -> float:
    """The shortest of several runs, in seconds: what the machine does when nobody disturbs it."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def look_up(get_node: Callable[[str], object], keys: Iterable[str]) -> None:
    """Look every key up, one call each, as a router does."""
    for key in keys:
        get_node(key)


def heaviest(load: Counter[str]) -> float:
    """Load of the heaviest node against the mean."""
    return max(load.values()) * len(load) / load.total()


def main() -> None:
    """Print the table."""
    ring = HashRing(TEN)
    grown = ring.with_node("worker-10")
    moved = [(ring.get_node(key), grown.get_node(key)) for key in KEYS if ring.get_node(key) != grown.get_node(key)]
    queues = [f"initial-sync.{number:03d}" for number in range(64)]
    rows = {
        "look-ups per second, 10 nodes": f"{len(KEYS) / best_of(5, lambda: look_up(ring.get_node, KEYS)):,.0f}",
        "build of 100 nodes": f"{best_of(7, lambda: HashRing(HUNDRED)) * 1000:.1f} ms",
        "heaviest of 10 nodes against the mean": f"{heaviest(Counter(map(ring.get_node, KEYS))):.3f}",
        "keys moved by an 11th node, of 1/11": f"{len(moved) * 11 / len(KEYS):.3f}",
        "of them to another node than the 11th": sum(target != "worker-10" for _, target in moved),
        "64 queues on 10 nodes, heaviest": heaviest(Counter(map(ring.get_node, queues))),
        "the same with loads bounded at 1.25": heaviest(Counter(ring.assign(queues).values())),
        "assign of 5,000 keys": f"{best_of(5, lambda: ring.assign(KEYS[:5000])) * 1000:.1f} ms",
    }
    if find_spec("uhashring"):
        rival = import_module("uhashring").HashRing
        other = rival(nodes=TEN)
        rows |= {
            "uhashring: look-ups per second": f"{len(KEYS) / best_of(5, lambda: look_up(other.get_node, KEYS)):,.0f}",
            "uhashring: build of 100 nodes": f"{best_of(3, lambda: rival(nodes=HUNDRED)) * 1000:.1f} ms",
            "uhashring: heaviest of 10 nodes": f"{heaviest(Counter(map(other.get_node, KEYS))):.3f}",
        }
    for name, value in rows.items():
        print(f"{name:<40} {value}")


if __name__ == "__main__":
    main()
