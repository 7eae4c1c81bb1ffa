"""YAML that remembers its lines."""

from collections.abc import Iterator, Sequence
from typing import Any

import yaml


class Document:
    """A YAML document as plain data, and the line on which each of its parts stands.

    Args:
        text: The document.

    Raises:
        yaml.YAMLError: when the text is no YAML, holds several documents, or has a tag other than the safe ones.
    """

    def __init__(self, text: str) -> None:
        loader = yaml.SafeLoader(text)
        try:
            self._root = loader.get_single_node()
            self.twice = list(_duplicate_keys(self._root))
            """Every key that stands twice in one mapping, with its line."""
            self.data: Any = None if self._root is None else loader.construct_document(self._root)
            """The document's content."""
        finally:
            loader.dispose()

    def line(self, path: Sequence[str | int]) -> int:
        """The line (from 1) of the part at the path of keys and indexes, or of the nearest part around it."""
        node, line = self._root, 1
        for step in path:
            found = _child(node, step)
            if found is None:
                break
            label, node = found
            line = label.start_mark.line + 1
        return line


def _child(node: yaml.Node | None, step: str | int) -> tuple[yaml.Node, yaml.Node] | None:
    """The node that bears the line of the step, and the node below it: a key and its value, or an item twice."""
    if isinstance(node, yaml.MappingNode):
        return next(((key, value) for key, value in node.value if key.value == step), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int):
        return node.value[step], node.value[step]
    return None


def _duplicate_keys(root: yaml.Node | None) -> Iterator[tuple[int, str]]:
    waiting, seen = [root], set[int]()
    while waiting:
        node = waiting.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting.extend(node.value)
        elif isinstance(node, yaml.MappingNode):
            keys = set[str]()
            for key, value in node.value:
                waiting.append(value)
                if isinstance(key, yaml.ScalarNode) and key.value in keys:
                    yield key.start_mark.line + 1, key.value
                keys.add(str(key.value))
