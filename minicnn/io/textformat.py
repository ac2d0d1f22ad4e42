"""Protocol Buffers' text format: `parse` turns a text into messages of fields, each with the line that it stands on.

    name: "conv1"  kernel_size: 11  pool: MAX      a value: a string, a number or a word (true, MAX)
    convolution_param { num_output: 96 }           a message; a colon before it is allowed, < > in place of { } too
    dim: [1, 3, 227, 227]                          the same as four times `dim`
    # and a comment

What the fields mean is another room's business. Source: protobuf.dev/reference/protobuf/textformat-spec.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from ..errors import ArgumentError, MinicnnError, short

DEEPEST = 50
"""Messages inside one another; Caffe's descriptions use five."""


@dataclass(frozen=True)
class Place:
    """Where in a text something stands, for errors: `lenet.prototxt, line 12: conv1 (Convolution): ...`."""

    source: str
    line: int
    owner: str = ""

    def error(self, message: str, kind: type[MinicnnError] = ArgumentError) -> MinicnnError:
        """The error to raise for what is wrong here."""
        owner = f"{self.owner}: " if self.owner else ""
        return kind(f"{self.source}, line {self.line}: {owner}{message}")

    def at(self, line: int, owner: str | None = None) -> Place:
        """Another line of the same text."""
        return Place(self.source, line, self.owner if owner is None else owner)


@dataclass
class Value:
    """What a field is set to: a str for a string or a word, an int, a float, or a Message."""

    kind: Literal["string", "number", "word", "message"]
    data: Any
    line: int

    def __str__(self) -> str:
        if self.kind == "message":
            return "{ ... }"
        text = f'"{self.data}"' if self.kind == "string" else str(self.data)
        return short(text, 60)


@dataclass
class Message:
    """Named values in the order of the text; a repeated field has several of one name."""

    line: int
    fields: list[tuple[str, Value]] = field(default_factory=list)


class _Token(NamedTuple):
    kind: str
    """name, number, string, end, or the sign itself."""
    text: str
    line: int


TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n\f\v]+|\#[^\n]*)
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<number>(?:0[xX][0-9a-fA-F]+|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?[fF]?)(?![A-Za-z0-9_.]))
      | (?P<string>"(?:[^"\\\n]|\\[^\n])*"|'(?:[^'\\\n]|\\[^\n])*')
      | (?P<sign>[{}<>:,;\[\]-])""",
    re.VERBOSE,
)
ESCAPE = re.compile(r"\\(?:[xX]([0-9a-fA-F]{1,2})|([0-7]{1,3})|(.))")
ESCAPED = {"n": "\n", "r": "\r", "t": "\t", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
CLOSING = {"{": "}", "<": ">"}


def _tokens(text: str, place: Place) -> Iterator[_Token]:
    start, line = 0, 1
    while start < len(text):
        match = TOKEN.match(text, start)
        if match is None:
            rest = text[start : start + 20].partition("\n")[0]
            hint = "a string ends on the line on which it begins" if rest[0] in "\"'" else "the text format has no such"
            raise place.at(line).error(f"{rest!r} cannot be read: {hint}: correct or remove it")
        kind, found = str(match.lastgroup), match.group()
        if kind != "space":
            yield _Token(found if kind == "sign" else kind, found, line)
        line += found.count("\n")
        start = match.end()
    yield _Token("end", "the end of the text", line)


def parse(text: str, source: str) -> Message:
    """Read a text. source: what errors call it. Raises ArgumentError with the line of whatever breaks the format."""
    return _Parser(text, Place(source, 1)).message(None, 1, 0)


class _Parser:
    def __init__(self, text: str, place: Place) -> None:
        self.place = place
        self.tokens = _tokens(text, place)
        self.next = next(self.tokens)

    def take(self) -> _Token:
        """The next token, which is thereby used up."""
        token, self.next = self.next, next(self.tokens, self.next)
        return token

    def wrong(self, wanted: str, token: _Token) -> MinicnnError:
        shown = token.text if token.kind == "end" else repr(short(token.text))
        return self.place.at(token.line).error(f"{shown} stands where {wanted} must be: correct or remove it")

    def message(self, closing: str | None, line: int, depth: int) -> Message:
        """The fields up to the closing bracket, which is used up; None: up to the end."""
        if depth > DEEPEST:
            raise self.place.at(line).error(f"more than {DEEPEST} messages lie inside one another: take some away")
        found = Message(line)
        while True:
            token = self.take()
            if token.kind == (closing or "end"):
                return found
            if token.kind == "end":
                raise self.place.at(line).error(f"a bracket is opened here and never closed: a {closing!r} is missing")
            if token.kind != "name":
                raise self.wrong("the name of a field" + (f" or {closing!r}" if closing else ""), token)
            found.fields += [(token.text, value) for value in self.values(token, depth)]
            if self.next.kind in (",", ";"):
                self.take()

    def values(self, name: _Token, depth: int) -> list[Value]:
        """What follows the name of a field: one value, or a list of them."""
        colon = self.next.kind == ":"
        if colon:
            self.take()
        if self.next.kind != "[":
            return [self.value(name, colon, depth)]
        self.take()
        listed: list[Value] = []
        while self.next.kind != "]":
            listed.append(self.value(name, colon, depth))
            if self.next.kind not in (",", "]"):
                raise self.wrong("',' or ']'", self.next)
            if self.next.kind == ",":
                self.take()
        self.take()
        return listed

    def value(self, name: _Token, colon: bool, depth: int) -> Value:
        token = self.take()
        if token.kind in CLOSING:
            return Value("message", self.message(CLOSING[token.kind], token.line, depth + 1), token.line)
        if not colon:
            raise self.wrong(f"':' or '{{' behind {short(name.text)}", token)
        if token.kind == "name":
            return Value("word", token.text, token.line)
        if token.kind == "string":
            parts = [token.text]
            while self.next.kind == "string":  # strings side by side are one
                parts.append(self.take().text)
            return Value("string", "".join([ESCAPE.sub(_unescaped, part[1:-1]) for part in parts]), token.line)
        if token.kind == "-" and self.next.kind in ("number", "name"):
            return Value("number", -self.number(self.take()), token.line)
        if token.kind == "number":
            return Value("number", self.number(token), token.line)
        raise self.wrong(f"the value of {short(name.text)}", token)

    def number(self, token: _Token) -> int | float:
        text = token.text.lower()
        try:
            if text.startswith("0x") or text.isdecimal():
                octal = len(text) > 1 and text[0] == "0" and text.isdecimal()
                value = int(text, 16 if text.startswith("0x") else 8 if octal else 10)
                str(value)  # thousands of digits, which no message could show: a ValueError
                return value
            return float(text if token.kind == "name" else text.removesuffix("f"))  # a name: -inf
        except ValueError:  # 089, -word, thousands of digits
            raise self.wrong("a number", token) from None


def _unescaped(match: re.Match[str]) -> str:
    sixteen, eight, letter = match.groups()
    if letter is not None:
        return ESCAPED.get(letter, letter)
    return chr(int(sixteen, 16) if sixteen is not None else int(eight, 8) & 255)
