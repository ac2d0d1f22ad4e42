"""CUDA without a GPU: `emulated` stands in for CuPy, with NumPy's arrays and CUDA sources that g++ compiles as C++.

What CUDA's words mean then is in `cuda/emulation.h`. Every launch runs twice from the same numbers, with its threads
and blocks in opposite orders, on copies of its arrays that lie between canaries. Both runs must give the same bits and
leave the canaries alone; what is wrong raises AssertionError with the kernel's name. `backend()` is the CUDA backend on
NumPy's arrays:

    with minicnn.backends.using(emulated_cuda.backend(), None):
        ...
"""

from __future__ import annotations

import atexit
import collections
import ctypes
import functools
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import weakref
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.array_utils import byte_bounds

from minicnn.backends import cuda

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "kernels" / "cuda" if (ROOT / "kernels").is_dir() else cuda.folder()
"""Of this source tree, where there is one."""
HEADER = ROOT / "tests" / "cuda" / "emulation.h"
COMPILER = os.environ.get("CXX", "g++")
WARNINGS = ["-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", "-Wno-unused-function", "-Wno-unknown-pragmas"]
CHECKS = "bounds,shift,signed-integer-overflow,integer-divide-by-zero,alignment,null,float-cast-overflow"
OPTIONS = [
    "-O2", "-ffp-contract=off", "-fno-strict-aliasing", "-g", "-fPIC", "-U_FORTIFY_SOURCE", *WARNINGS,
    f"-fsanitize={CHECKS}",
]  # fmt: skip
KERNELS = re.compile(r'^(?:KERNEL|extern "C" __global__ void)\s+(NAME\(\w+\)|\w+)\(', re.MULTILINE)
MARGIN = 4096
"""Bytes of canaries on each side of an array."""

launches: collections.Counter[str] = collections.Counter()
"""How often each kernel has been launched."""


def missing() -> str:
    """Why nothing can be emulated here, or nothing."""
    if sys.platform != "linux":
        return "the emulation of CUDA needs Linux"
    return "" if shutil.which(COMPILER) else f"the emulation of CUDA needs {COMPILER}, which is not installed"


@functools.cache
def libraries() -> Path:
    """A folder for what this process compiles."""
    folder = tempfile.TemporaryDirectory(prefix="minicnn-cuda-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


def compiled(code: str, options: tuple[str, ...]) -> Path:
    """The library that a CUDA source becomes; compiled once for the same texts and options."""
    included = [Path(option[2:]) for option in options if option.startswith("-I")]
    headers = [*HEADER.parent.glob("*.h"), *(path for folder in included for path in folder.glob("*.cuh"))]
    texts = [code, *options, *(path.read_text() for path in sorted(headers))]
    library = libraries() / (hashlib.sha256("\0".join(texts).encode()).hexdigest() + ".so")
    if not library.exists():
        source, unlinked = library.with_suffix(".cu"), library.with_suffix(".o")
        names = [path for folder in included for path in folder.glob("*.cu") if path.read_text() == code]
        tail = "".join(f"EMULATED({name})\n" for name in KERNELS.findall(code))
        source.write_text(f'#line 1 "{names[0] if names else "code.cu"}"\n{code}\n{tail}')
        # In two steps: the compiler would link its own library for -fsanitize.
        compile = [COMPILER, "-x", "c++", *options, *OPTIONS, "-include", str(HEADER), "-c", str(source)]
        for command in ([*compile, "-o", str(unlinked)], [COMPILER, "-shared", str(unlinked), "-o", str(library)]):
            done = subprocess.run(command, capture_output=True, text=True)
            assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"
    return library


class RawModule:
    """CuPy's RawModule: kernels from the text of a CUDA source."""

    def __init__(self, *, code: str, options: tuple[str, ...] = ()) -> None:
        self.code, self.options = code, options

    @functools.cached_property
    def library(self) -> ctypes.PyDLL:
        return ctypes.PyDLL(str(compiled(self.code, self.options)))  # keeps the GIL: one launch at a time

    def get_function(self, name: str) -> RawKernel:
        return RawKernel(name, self.library)


class RawKernel:
    """CuPy's RawKernel: called with a grid, a block and arguments. Raises TypeError where those do not fit."""

    def __init__(self, name: str, library: ctypes.PyDLL) -> None:
        self.name = name
        self._launch, signature = library[f"launch_{name}"], library[f"signature_{name}"]
        self._launch.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int)
        self._launch.restype = signature.restype = ctypes.c_char_p
        self.parameters = signature().decode().split()

    def __call__(self, grid: tuple[int, ...], block: tuple[int, ...], args: tuple[Any, ...]) -> None:
        launches[self.name] += 1
        sizes = np.array([*grid, *(1,) * (3 - len(grid)), *block, *(1,) * (3 - len(block))], np.uint32)
        values = [self._value(i, value) for i, value in enumerate(args)]
        if len(values) != len(self.parameters):
            raise TypeError(f"{self.name}: {len(values)} arguments for {len(self.parameters)} parameters")
        names, arrays, entries = _arrays(values)
        pointers = [i for i, value in enumerate(values) if isinstance(value, np.ndarray)]
        blank = Memory(arrays)
        before = blank.with_values(arrays)
        runs = []
        for order in ("forward", "backward"):
            memory = before.with_values(())
            given = [np.asarray(value) for value in values]
            for i, pointer in enumerate(pointers):
                given[pointer] = np.array(memory.address(i), np.uint64)
            for table, at, whose in entries:
                memory.view(table).reshape(-1)[at] = memory.address(whose)
            addresses = np.array([_address(value) for value in given], np.uint64)
            error = self._launch(_address(sizes), _address(addresses), order == "backward")
            assert not error, f"{self.name}, {order}: {error.decode()}"
            for table, at, _ in entries:
                memory.view(table).reshape(-1)[at] = arrays[table].reshape(-1)[at]
            self._check_canaries(names, memory, blank.with_values(memory.views()))
            runs.append(memory)
        self._check_orders(names, *runs)
        for name, array, old, new in zip(names, arrays, before.views(), runs[0].views()):
            if array.flags.writeable:
                np.copyto(array, new)
            else:
                assert (_bits(old) == _bits(new)).all(), f"{self.name} writes to argument {name}, which is read-only"

    def _value(self, i: int, value: Any) -> Any:
        """An argument as an array or a NumPy number, as CuPy takes it; checked, which CuPy does not."""
        if isinstance(value, (int, float)) and not isinstance(value, np.generic):
            value = np.float64(value) if isinstance(value, float) else np.int64(value)
        parameter = self.parameters[i] if i < len(self.parameters) else ""
        if isinstance(value, np.ndarray):
            kind, size = parameter[1:2], parameter[2:]
            if kind == "s":
                good = value.dtype == np.int64 and value.nbytes % int(size) == 0
            else:
                good = parameter.startswith("*") and (kind == "v" or _is(value, kind + size))
            # As a batch normalisation's: channels of a wider array
            lies_well = value.flags.c_contiguous or value[:1].flags.c_contiguous
            assert lies_well, f"{self.name}: argument {i} is not contiguous: {value.shape}, strides {value.strides}"
        elif isinstance(value, np.generic):
            good = value.dtype == np.uint64 and value == 0 if parameter.startswith("*") else _is(value, parameter)
        else:
            raise TypeError(f"{self.name}: argument {i} is a {type(value).__name__}: CuPy takes arrays and numbers")
        if not good:
            raise TypeError(f"{self.name}: argument {i} is {value.dtype} {value!r:.60}: the parameter is {parameter}")
        return value

    def _check_canaries(self, names: list[str], memory: Memory, expected: Memory) -> None:
        for block, (mine, other) in enumerate(zip(memory.blocks, expected.blocks)):
            if not np.array_equal(mine, other):
                byte = int(np.flatnonzero(mine != other)[0])
                near = [i for i, place in enumerate(memory.places) if place[0] == block]
                i = min(near, key=lambda i: abs(memory.places[i][1] - byte))
                at = (byte - memory.places[i][1]) // memory.view(i).itemsize
                raise AssertionError(
                    f"{self.name} writes outside of argument {names[i]}: number {at} from its beginning"
                )

    def _check_orders(self, names: list[str], forward: Memory, backward: Memory) -> None:
        for name, a, b in zip(names, forward.views(), backward.views()):
            wrong = (_bits(a) != _bits(b)).any(axis=-1)
            if wrong.any():
                at = tuple(int(n) for n in np.argwhere(wrong)[0])
                raise AssertionError(
                    f"{self.name}: argument {name} depends on the order of the threads: at {at}, {a[at]} forward, "
                    f"{b[at]} backward; {np.count_nonzero(wrong)} of {wrong.size} numbers: is a barrier missing?"
                )


class Memory:
    """Copies of a launch's arrays, in blocks: arrays that overlap share one.

    Around them lie canaries: NaN that hold the block's number, so that a copy from one margin to another shows, and
    that signal, so that any arithmetic on them changes their bits.
    """

    def __init__(self, arrays: list[np.ndarray]) -> None:
        self.blocks: list[np.ndarray] = []
        self.places: list[Any] = [None] * len(arrays)  # of each array: block, offset in it, shape, dtype, strides
        bounds = [byte_bounds(a) if a.size else (_address(a),) * 2 for a in arrays]
        order, done = sorted(range(len(arrays)), key=lambda i: bounds[i]), 0
        while done < len(order):
            first = done
            low, high = bounds[order[first]]
            while done < len(order) and (done == first or bounds[order[done]][0] < high):
                high = max(high, bounds[order[done]][1])
                done += 1
            begin = MARGIN + low % 64  # what is aligned stays so
            for i in order[first:done]:
                array, offset = arrays[i], begin + _address(arrays[i]) - low
                self.places[i] = (len(self.blocks), offset, array.shape, array.dtype, array.strides)
            block = _aligned((begin + high - low + MARGIN + 7) // 8 * 8)
            if arrays[order[first]].itemsize == 8:
                block.view(np.uint64)[:] = 0xFFF0000000000001 + len(self.blocks)
            else:
                block.view(np.uint32)[:] = 0xFF800001 + len(self.blocks)
            self.blocks.append(block)

    def with_values(self, arrays: Any) -> Memory:
        """A copy that holds the values of the arrays, if any."""
        other = object.__new__(Memory)
        other.places, other.blocks = self.places, []
        for block in self.blocks:
            other.blocks.append(_aligned(block.size))
            np.copyto(other.blocks[-1], block)
        for i, array in enumerate(arrays):
            np.copyto(other.view(i), array)
        return other

    def view(self, i: int) -> np.ndarray:
        """The copy of array i."""
        block, offset, shape, dtype, strides = self.places[i]
        return np.ndarray(shape, dtype, self.blocks[block], offset, strides)

    def views(self) -> list[np.ndarray]:
        return [self.view(i) for i in range(len(self.places))]

    def address(self, i: int) -> int:
        return _address(self.blocks[self.places[i][0]]) + int(self.places[i][1])


addressed: dict[int, weakref.ref[np.ndarray]] = {}
"""The arrays whose addresses a kernel may find in memory."""


def address(array: np.ndarray) -> int:
    """What CuPy has as array.data.ptr, for tables of addresses (int64). The array must outlive its use."""
    addressed[_address(array)] = weakref.ref(array)
    return _address(array)


def _arrays(values: list[Any]) -> tuple[list[str], list[np.ndarray], list[tuple[int, int, int]]]:
    """The names of arrays and the arrays: those among the arguments, then those whose addresses stand in them.

    And where addresses stand: in which array, at which number, and whose.
    """
    names = [str(i) for i, value in enumerate(values) if isinstance(value, np.ndarray)]
    arrays = [value for value in values if isinstance(value, np.ndarray)]
    entries, found = [], {}
    for table, name in enumerate(names.copy()):
        if addressed and arrays[table].dtype == np.int64:
            for at, number in enumerate(arrays[table].reshape(-1).tolist()):
                if number not in addressed:
                    continue
                if number not in found:
                    array = addressed[number]()
                    assert array is not None, f"argument {name}[{at}] is the address of an array that is gone"
                    found[number] = len(arrays)
                    names.append(f"{name}[{at}]")
                    arrays.append(array)
                entries.append((table, at, found[number]))
    return names, arrays, entries


def _address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


def _aligned(size: int) -> np.ndarray:
    """Bytes that begin at a multiple of 64."""
    block = np.empty(size + 64, np.uint8)
    begin = -_address(block) % 64
    return block[begin : begin + size]


def _bits(array: np.ndarray) -> np.ndarray:
    """The bytes of each number, along one more axis."""
    return np.ascontiguousarray(array).view(np.uint8).reshape(*array.shape, array.itemsize)


def _is(value: Any, name: str) -> bool:
    """Whether numbers are of the type that the signature calls `name`; a C++ bool is u1 there."""
    return bool(name) and value.dtype in (np.dtype(name), np.dtype(bool) if name == "u1" else np.dtype(name))


class Emulated:
    """NumPy, but for what CuPy alone has and that new memory holds NaN."""

    RawModule = RawModule

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    @staticmethod
    def empty(shape: Any, dtype: Any = float) -> np.ndarray:
        out = np.empty(shape, dtype)
        out.reshape(-1).view(np.uint8)[:] = 0xFF
        return out


emulated = Emulated()


@functools.cache
def backend() -> cuda.Cuda:
    """The CUDA backend on `emulated`, with the sources of this tree; it computes on NumPy's arrays."""
    cuda.folder = lambda: FOLDER
    cuda.sources.cache_clear()
    kernels = cuda.Cuda(emulated)
    kernels.device = "cpu"
    kernels.address = address
    return kernels
