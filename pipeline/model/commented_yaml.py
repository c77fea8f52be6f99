"""YAML that keeps its comments and its order when a value is changed."""

import io
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import CommentMark
from ruamel.yaml.tokens import CommentToken

_HEADER = "%YAML 1.1\n---\n"


def _yaml() -> YAML:
    yaml = YAML()
    yaml.version = (1, 1)  # as PyYAML, and so MONAI, reads the text: there 1e-3 and an unquoted `no` differ from 1.2
    yaml.preserve_quotes = True
    yaml.width = 10_000
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml


def parse(text: str) -> CommentedMap:
    """Return a document that remembers its comments.

    Raises:
        YAMLError: ruamel's, if the text is no YAML.
    """
    return _yaml().load(text)


def text_of(document: CommentedMap) -> str:
    """Return a document as text."""
    stream = io.StringIO()
    _yaml().dump(document, stream)
    return stream.getvalue().removeprefix(_HEADER)


def put(parent: dict[str, Any], key: str, value: Any) -> None:
    """Set a key's value. Comments stay; a list or mapping that brings no layout of its own goes on one line."""
    old = parent.get(key)
    if isinstance(old, dict) and isinstance(value, dict) and old.keys() == value.keys():
        for inner in value:
            put(old, inner, value[inner])
        return
    on_one_line = isinstance(old, CommentedSeq) and old.fa.flow_style()
    if isinstance(value, list) and (on_one_line or not isinstance(value, CommentedSeq)):
        value = CommentedSeq(value)
        value.fa.set_flow_style()
    elif isinstance(value, dict) and not isinstance(value, CommentedMap):
        value = CommentedMap(value)
        value.fa.set_flow_style()
    below = _take_comment_below(parent, key) if key in parent else ""
    parent[key] = value
    _take_comment_below(parent, key)
    _add_comment_below(parent, key, below)


# ruamel keeps the comment lines below a block with the last value in the block, after that value's own comment.


def _last_value(parent: Any, key: Any) -> tuple[Any, Any, int]:
    """Return where the last value of a block is: its parent, its key, and the place of its comment in ruamel's list."""
    node = parent[key]
    while isinstance(node, (CommentedMap, CommentedSeq)) and node and not node.fa.flow_style():
        parent, key = node, len(node) - 1 if isinstance(node, CommentedSeq) else next(reversed(node))
        node = parent[key]
    return parent, key, 0 if isinstance(parent, CommentedSeq) else 2


def _take_comment_below(parent: dict[str, Any], key: str) -> str:
    """Remove the comment lines below a block, and return them."""
    holder, last, place = _last_value(parent, key)
    comments = holder.ca.items.get(last)
    if not comments or comments[place] is None:
        return ""
    own, _, below = comments[place].value.partition("\n")
    comments[place] = CommentToken(own + "\n", comments[place].start_mark, None) if own else None
    return below


def _add_comment_below(parent: dict[str, Any], key: str, below: str) -> None:
    """Write comment lines below a block."""
    if not below:
        return
    holder, last, place = _last_value(parent, key)
    comments = holder.ca.items.setdefault(last, [None] * 4)
    own = comments[place] or CommentToken("\n", CommentMark(0), None)
    comments[place] = CommentToken(own.value + below, own.start_mark, None)
