"""YAML that people or other programs wrote, read within bounds: plain data only, no key twice, nothing that grows."""

from __future__ import annotations

from typing import Any

import yaml

MAX_CHARACTERS = 1 << 20
MAX_NODES = 50_000
"""Of one document with every alias written out: nine lines of aliases of aliases can stand for a billion."""


class YamlTextError(ValueError):
    """The text cannot be read as YAML within the bounds; one line that says where and why."""


def yaml_documents(text: str) -> list[Any]:
    """The documents of a YAML text that are not empty: mappings, lists, strings, numbers, booleans, dates, None.

    Raises:
        YamlTextError: it is not YAML, gives a key twice, or is longer, larger or deeper than files that people write.
    """
    if len(text) > MAX_CHARACTERS:
        raise YamlTextError(f"{len(text)} characters; at most {MAX_CHARACTERS} are read")
    found = []
    try:
        loader = _Loader(text)
        while loader.check_node() and (node := loader.get_node()):
            _written_out(node, {})
            found.append(loader.construct_document(node))
    except RecursionError as error:
        raise YamlTextError("it is nested more deeply than can be read") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date or a number that there is not
        raise YamlTextError(" ".join(str(error).split())) from error
    return [each for each in found if each is not None]


class _Loader(yaml.SafeLoader):
    """YAML in which a key given twice is an error, not the second value."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        written = (key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge")
        keys = [self.construct_object(key, deep=True) for key in written]
        twice = sorted({str(key) for key in keys if keys.count(key) > 1})
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"{', '.join(twice)} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _written_out(node: yaml.Node, known: dict[int, int]) -> int:
    """How many nodes `node` stands for, each alias counted as what it repeats; 0 in `known`: it is being counted."""
    if (size := known.get(id(node))) is not None:
        if size == 0:
            raise YamlTextError(f"line {node.start_mark.line + 1}: it contains itself by an alias")
        return size
    known[id(node)] = 0
    below: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        below = [each for pair in node.value for each in pair]
    elif isinstance(node, yaml.SequenceNode):
        below = node.value
    size = 1 + sum(_written_out(each, known) for each in below)
    if size > MAX_NODES:
        raise YamlTextError(
            f"line {node.start_mark.line + 1}: more than {MAX_NODES} values once aliases are written out; write fewer"
        )
    known[id(node)] = size
    return size
