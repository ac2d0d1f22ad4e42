"""Layers written out as text, such as `Sequential(Conv2d(3, 8, 5), ReLU())`, read without running anything."""

from __future__ import annotations

import ast
import difflib
from typing import Any

from .. import layers
from ..errors import ArgumentError, MinicnnError, short
from ..layers import Layer, default_device

KINDS = {
    name: kind
    for name in layers.__all__
    if isinstance(kind := getattr(layers, name), type) and issubclass(kind, Layer) and kind is not Layer
}


def layer_from(text: str) -> Layer:
    """The layer that `text` calls for, on the meta device. Only the layers' names and plain values are understood.

    Raises ArgumentError for anything else.
    """
    text = text.strip()
    try:
        tree = ast.parse(text, mode="eval").body
    except UNREADABLE:
        raise ArgumentError(f"{short(text)!r} cannot be read: write a layer as in Conv2d(3, 8, 5, padding=2)") from None
    with default_device("meta"):
        layer = _value(tree, text)
    if not isinstance(layer, Layer):
        raise ArgumentError(f"{short(text)!r} is no layer: write one as in Conv2d(3, 8, 5, padding=2)")
    return layer


UNREADABLE = (SyntaxError, ValueError, TypeError, RecursionError, MemoryError)
"""What Python's own parser raises for a text that is wrong, too long or too deep."""


def _source(node: ast.AST, text: str) -> str:
    """How a part was written. It is cut out of the text: `ast.unparse` fails where an expression is deep."""
    return short(ast.get_source_segment(text, node) or "")


def _value(node: ast.AST, text: str) -> Any:
    if not isinstance(node, ast.Call):
        try:
            return ast.literal_eval(node)
        except UNREADABLE:
            raise ArgumentError(
                f"{short(text)!r}: {_source(node, text)!r} is neither a layer nor a plain value: write Conv2d(3, 8, 5)"
            ) from None
    name = node.func.id if isinstance(node.func, ast.Name) else _source(node.func, text)
    if name not in KINDS:
        near = difflib.get_close_matches(name, KINDS, n=2)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(KINDS)}"
        raise ArgumentError(f"{short(text)!r}: there is no layer called {short(name)!r}: {hint}")
    given = [_value(argument, text) for argument in node.args]
    named = {str(keyword.arg): _value(keyword.value, text) for keyword in node.keywords}
    try:
        return KINDS[name](*given, **named)
    except MinicnnError:
        raise
    except (TypeError, ValueError, OverflowError) as error:  # also: an integer of thousands of digits cannot be shown
        raise ArgumentError(f"{short(text)!r}: {short(str(error).replace('.__init__()', ''), 200)}") from None
