"""YAML as users mean it: 1e-4 is a number, ``on`` a string, a key given twice an error.

Called by ``hpsearch.spec.document`` for files and by ``hpsearch.spec.override`` for ``--set``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import yaml

from hpsearch.spec.problem import Problem, Problems, SpecError, shown

_TAG = "tag:yaml.org,2002:"


def parse_yaml(text: str, file: str) -> Any:
    """The value of a YAML text: plain scalars, lists and dicts. Raises SpecError."""
    problems = Problems(file=file)
    try:
        node = _Loader(text).get_single_node()
        value = None if node is None else _value(node, problems)
    except yaml.MarkedYAMLError as error:
        rule = f"is no YAML: {error.problem or error.context}"
        raise SpecError([Problem(file=file, key=_line(error.problem_mark), rule=rule)]) from error
    except yaml.YAMLError as error:
        raise SpecError([Problem(file=file, key="", rule=f"is no YAML: {error}")]) from error
    except RecursionError as error:
        rule = "is nested too deeply; write it flat"
        raise SpecError([Problem(file=file, key="", rule=rule)]) from error
    problems.raise_if_any()
    return value


def _line(mark: yaml.Mark | None) -> str:
    return "" if mark is None else f"line {mark.line + 1}"


class _Loader(yaml.SafeLoader):
    """Composes nodes with the core scalars of YAML 1.2, and takes no alias.

    Aliases would let a short file stand for a huge one.
    """

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]  # so in the stubs
            raise yaml.composer.ComposerError(None, None, "an alias is not taken; repeat it", mark)
        return super().compose_node(parent, index)


_Loader.yaml_implicit_resolvers = {}  # not those of YAML 1.1, which has 12:30 and on and 010
for _kind, _pattern, _starts in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", list("-+.")),
):
    _Loader.add_implicit_resolver(_TAG + _kind, re.compile(rf"^(?:{_pattern})$"), _starts)

_SCALARS: dict[str, Callable[[str], Any]] = {
    "str": str,
    "null": lambda text: None,
    "bool": lambda text: text.lower() == "true",
    "int": int,
    "float": lambda text: float(text.lower().replace(".inf", "inf").replace(".nan", "nan")),
}


def _value(node: yaml.Node, problems: Problems) -> Any:
    tag = node.tag.removeprefix(_TAG)
    if isinstance(node, yaml.SequenceNode) and tag == "seq":
        return [_value(item, problems) for item in node.value]
    if isinstance(node, yaml.MappingNode) and tag == "map":
        return _mapping(node, problems)
    if isinstance(node, yaml.ScalarNode) and tag in _SCALARS:
        return _scalar(node.value, tag, node, problems)
    problems.add(_line(node.start_mark), f"the tag {node.tag} is not taken; leave it out")
    return None


def _scalar(text: str, tag: str, node: yaml.Node, problems: Problems) -> Any:
    try:
        return _SCALARS[tag](text)
    except ValueError:  # an explicit tag, or a number of thousands of digits
        problems.add(_line(node.start_mark), f"must be of type {tag}", shown(text))
        return None


def _mapping(node: yaml.MappingNode, problems: Problems) -> dict[Any, Any]:
    mapping: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            problems.add(_line(key_node.start_mark), "a key must be a name, no list or mapping")
            continue
        key = _value(key_node, problems)
        if key in mapping:
            problems.add(_line(key_node.start_mark), f"{shown(key)} is given twice; leave one")
        mapping[key] = _value(value_node, problems)
    return mapping
