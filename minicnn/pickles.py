"""Reading a pickle without running it.

A pickle is a program for a small stack machine, and Python's machine imports and calls whatever the program names. The
one here knows only the instructions that build numbers, text, tuples, lists and dictionaries. A name stands for what
its caller admits under it, a stand-in of ours; every other name is refused before it is looked up.
"""

from __future__ import annotations

import pickle
import pickletools
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

Refused = pickle.UnpicklingError

MOST = 4_000_000
"""Instructions in one pickle: far more than any network's names, and few enough for any machine's memory."""

_LITERALS = frozenset({
    "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "INT", "LONG", "BINFLOAT", "FLOAT", "BINUNICODE", "BINUNICODE8",
    "SHORT_BINUNICODE", "UNICODE", "BINSTRING", "SHORT_BINSTRING", "STRING", "BINBYTES", "BINBYTES8", "SHORT_BINBYTES",
})  # fmt: skip
_NEW: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple, "EMPTY_LIST": list, "EMPTY_DICT": dict,
}  # fmt: skip
_FEW = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Machine:
    """The stack, the marks in it, and what was put aside."""

    def __init__(self, admitted: Mapping[tuple[str, str], Any], persistent: Callable[[Any], Any] | None) -> None:
        self.admitted, self.persistent = admitted, persistent
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def behind_mark(self) -> list[Any]:
        mark = self.marks.pop()
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    def last(self, count: int) -> list[Any]:
        if count > len(self.stack) - (self.marks[-1] if self.marks else 0):
            raise Refused("it takes more than there is")
        items = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return items

    def top(self, kind: type) -> Any:
        target = self.stack[-1]
        if not isinstance(target, kind):
            raise Refused(f"it fills a {type(target).__name__} as if it were a {kind.__name__}")
        return target

    def set_items(self, items: list[Any]) -> None:
        target = self.top(dict)
        if len(items) % 2:
            raise Refused("a key without a value")
        for key, value in zip(items[::2], items[1::2]):
            # A deeply nested tuple would overflow the C stack when it is hashed.
            if not (key is None or isinstance(key, (str, bytes, int, float))):
                raise Refused(f"a key is a {type(key).__name__}")
            target[key] = value

    def find(self, module: Any, name: Any) -> Any:
        if not isinstance(module, str) or not isinstance(name, str):
            raise Refused("it asks for something whose name is no text")
        if (module, name) not in self.admitted:
            raise Refused(f"it asks for {module[:80]}.{name[:80]}")
        return self.admitted[module, name]

    def call(self, function: Any, arguments: Any) -> Any:
        if not any(function is known for known in self.admitted.values()) or not isinstance(arguments, tuple):
            raise Refused(f"it calls a {type(function).__name__}")
        return function(*arguments)

    def build(self, state: Any) -> None:
        target = self.stack[-1]
        if not hasattr(type(target), "__setstate__"):
            raise Refused(f"it sets the state of a {type(target).__name__}")
        target.__setstate__(state)

    def step(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in _LITERALS:
            if isinstance(argument, int) and argument.bit_length() > 128:
                raise Refused("a number of more than 128 bits")
            stack.append(argument)
        elif name in _NEW:
            stack.append(_NEW[name]())
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            self.memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(self.memo[argument])
        elif name == "MARK":
            self.marks.append(len(stack))
        elif name in _FEW:
            stack.append(tuple(self.last(_FEW[name])))
        elif name == "TUPLE":
            stack.append(tuple(self.behind_mark()))
        elif name == "LIST":
            stack.append(self.behind_mark())
        elif name == "DICT":
            items = self.behind_mark()
            stack.append({})
            self.set_items(items)
        elif name == "APPEND":
            (item,) = self.last(1)
            self.top(list).append(item)
        elif name == "APPENDS":
            items = self.behind_mark()
            self.top(list).extend(items)
        elif name == "SETITEM":
            self.set_items(self.last(2))
        elif name == "SETITEMS":
            self.set_items(self.behind_mark())
        elif name == "GLOBAL":
            stack.append(self.find(*argument.split(" ", 1)))
        elif name == "STACK_GLOBAL":
            stack.append(self.find(*self.last(2)))
        elif name == "REDUCE":
            stack.append(self.call(*self.last(2)))
        elif name == "BUILD":
            self.build(*self.last(1))
        elif name == "BINPERSID" and self.persistent is not None:
            stack.append(self.persistent(*self.last(1)))
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise Refused(f"it holds the instruction {name}")


def load(
    stream: BinaryIO, admitted: Mapping[tuple[str, str], Any], persistent: Callable[[Any], Any] | None = None
) -> Any:
    """The value of the pickle that begins where `stream` stands; afterwards it stands behind it.

    admitted: {(module, name): what it stands for}; its functions are called with arguments that come from the pickle.
    persistent: makes values of the references to things outside of the pickle. Text of Python 2 is read as latin-1.
    Raises Refused, or nearly anything where the pickle is damaged: catch Exception.
    """
    machine = _Machine(admitted, persistent)
    for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        if count >= MOST:
            raise Refused(f"it has more than {MOST:,} instructions")
        machine.step(opcode.name, argument)
    if len(machine.stack) != 1 or machine.marks:
        raise Refused("it does not end in one value")
    return machine.stack[0]
