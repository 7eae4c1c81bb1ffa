"""Consistent hashing: which node owns a key, the same answer in every process."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from itertools import chain
from struct import Struct

from partitioning.errors import EmptyRing, InvalidRing, UnknownRingNode

#: Points that a node of weight 1 has on the ring. 512 keep the heaviest of 10 nodes within 10 % of the mean.
VNODES_DEFAULT = 512

_POINTS_PER_DIGEST = 8
_unpack_points = Struct(f">{_POINTS_PER_DIGEST}Q").unpack
_unpack_key = Struct(">Q").unpack

Name = str | bytes


class HashRing:
    """An immutable consistent-hash ring of named nodes.

    The map depends on names and weights only: neither the order in which nodes were given nor Python's hash seed
    changes it. A name is the same as ``str`` and as UTF-8 ``bytes``. Points are 64-bit BLAKE2b values over
    length-prefixed input, so that names such as ``1`` and ``11`` share none; equal points go to the smaller name.
    After Karger et al., "Consistent Hashing and Random Trees", 1997.

    Args:
        nodes: names of the nodes; a name given twice counts once.
        vnodes: points of a node of weight 1, at least 1. Defaults to 512.
        weights: share of a node relative to the others, above 0. Defaults to 1.0 for each.

    Raises:
        InvalidRing: vnodes below 1, a weight that is not above 0, a weight for a node that is not in the ring.
    """

    __slots__ = ("_owners", "_points", "_vnodes", "_weights")

    def __init__(
        self,
        nodes: Iterable[Name] = (),
        *,
        vnodes: int = VNODES_DEFAULT,
        weights: Mapping[str, float] | Mapping[bytes, float] | None = None,
    ) -> None:
        if vnodes < 1:
            raise InvalidRing(f"vnodes must be at least 1, got {vnodes}")
        given = {_text(name): weight for name, weight in (weights or {}).items()}
        self._weights = {name: given.pop(name, 1.0) for name in sorted(map(_text, nodes))}
        if given:
            raise InvalidRing(f"weights name nodes that are not in the ring: {', '.join(sorted(given))}")
        self._vnodes = vnodes
        ring = sorted(chain.from_iterable(self._points_of(*node) for node in self._weights.items()))
        self._points = [point for point, _ in ring]
        self._owners = [name for _, name in ring]

    def _points_of(self, name: str, weight: float) -> Iterator[tuple[int, str]]:
        if not 0 < weight < float("inf"):
            raise InvalidRing(f"the weight of node {name!r} must be above 0, got {weight}")
        count = max(1, round(self._vnodes * weight))
        raw = name.encode()
        prefix = len(raw).to_bytes(4) + raw
        digests = (blake2b(prefix + block.to_bytes(4)).digest() for block in range(-(-count // _POINTS_PER_DIGEST)))
        points = chain.from_iterable(map(_unpack_points, digests))
        return ((point, name) for point, _ in zip(points, range(count), strict=False))

    @property
    def nodes(self) -> tuple[str, ...]:
        """The names of all nodes, sorted."""
        return tuple(self._weights)

    @property
    def weights(self) -> Mapping[str, float]:
        """The weight of every node."""
        return dict(self._weights)

    def __len__(self) -> int:
        return len(self._weights)

    def __contains__(self, node: object) -> bool:
        return isinstance(node, str | bytes) and _text(node) in self._weights

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, HashRing):
            return NotImplemented
        return (self._weights, self._vnodes) == (other._weights, other._vnodes)

    def __hash__(self) -> int:
        return hash((tuple(self._weights.items()), self._vnodes))

    def __repr__(self) -> str:
        return f"HashRing({len(self)} nodes, {len(self._points)} points)"

    def get_node(self, key: Name) -> str:
        """Return the node that owns a key, in O(log points).

        Raises:
            EmptyRing: the ring has no nodes.
        """
        if not self._points:
            raise EmptyRing
        return self._owners[self._position(key)]

    def get_nodes(self, key: Name, count: int, *, ignore: Iterable[Name] = ()) -> list[str]:
        """Return up to ``count`` distinct nodes for a key, the owner first, then those that would follow it.

        Args:
            key: what is looked up.
            count: how many nodes are wanted; fewer come back when the ring has fewer.
            ignore: nodes to pass over. Defaults to none.
        """
        passed = set(map(_text, ignore))
        wanted = min(count, len(self._weights.keys() - passed))
        found: dict[str, None] = {}
        start = self._position(key) if self._points else 0
        for name in chain(self._owners[start:], self._owners[:start]):
            if len(found) >= wanted:
                break
            if name not in passed:
                found[name] = None
        return list(found)

    def _position(self, key: Name) -> int:
        raw = key.encode() if isinstance(key, str) else key
        position = bisect_right(self._points, _unpack_key(blake2b(raw, digest_size=8).digest())[0])
        return position if position < len(self._points) else 0

    def with_node(self, node: Name, weight: float = 1.0) -> "HashRing":
        """Return a ring that has this node too, with this weight; only keys that move to it change their owner."""
        weights = {**self._weights, _text(node): weight}
        return HashRing(weights, vnodes=self._vnodes, weights=weights)

    def without_node(self, node: Name) -> "HashRing":
        """Return a ring without this node; only the keys that it owned change their owner.

        Raises:
            UnknownRingNode: the ring does not have the node.
        """
        name = _text(node)
        if name not in self._weights:
            raise UnknownRingNode(name)
        weights = {other: weight for other, weight in self._weights.items() if other != name}
        return HashRing(weights, vnodes=self._vnodes, weights=weights)


def _text(name: Name) -> str:
    return name if isinstance(name, str) else name.decode()
