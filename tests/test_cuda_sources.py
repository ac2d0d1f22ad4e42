"""The CUDA sources: CUDA's compilers take them, they agree with minicnn.h, nothing needs CUDA where there is none."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from emulated_cuda import FOLDER, KERNELS

import minicnn
from minicnn import backends
from minicnn.backends import cuda
from minicnn.errors import BackendError

SOURCES = sorted(FOLDER.glob("*.cu"))
ARCHITECTURES = (75, 80, 90)
DTYPES = {4: np.dtype(np.float32), 8: np.dtype(np.float64)}

HELPERS = {
    "augment": "crops, flips and normalises on the device; on the CPU NumPy does",
    "batch_norm_grad_sums": "a step of batch_norm_grad",
    "batch_norm_spread": "a step of batch_norm_training",
    "channel_total": "adds up what the blocks of channel_sum and others left",
    "bias_relu": "what follows a matrix product",
    "conv2d_weight_grad_total": "adds up what the blocks of conv2d_weight_grad left",
    "adam_many": "adam for many parameters at once",
    "sgd_many": "sgd for many parameters at once",
}
"""The kernels that have no twin in C."""
WAYS = re.compile(r"(conv2d|conv2d_input_grad|conv2d_weight_grad)_(naive|tiles_\d+)")
"""Ways to compute what is one kernel in C."""
ELSEWHERE = {"conv2d", "conv2d_input_grad", "conv2d_weight_grad", "linear", "matmul"}
"""The C kernels whose work cuBLAS or one of several ways does."""
CPU_ONLY = re.compile(r"limit_|winograd_|\w+_scratch$|all_finite")


# NVRTC, the compiler that CuPy calls


@functools.cache
def nvrtc_library() -> str:
    """The path of NVRTC as the package nvidia-cuda-nvrtc installs it, or nothing."""
    spec = importlib.util.find_spec("nvidia")
    for folder in spec.submodule_search_locations if spec and spec.submodule_search_locations else ():
        for path in sorted(Path(folder).glob("*/lib/libnvrtc.so.*"), reverse=True):
            return str(path)
    return ""


class Nvrtc:
    """NVRTC's compiler. Raises AssertionError with its log."""

    def __init__(self, path: str) -> None:
        self.library = ctypes.CDLL(path)

    def _call(self, name: str, *args) -> None:
        status = getattr(self.library, name)(*args)
        assert status == 0, f"{name}: error {status}"

    def _bytes(self, name: str, program: ctypes.c_void_p) -> bytes:
        size = ctypes.c_size_t()
        self._call(f"nvrtcGet{name}Size", program, ctypes.byref(size))
        text = ctypes.create_string_buffer(size.value)
        self._call(f"nvrtcGet{name}", program, text)
        return text.raw

    def architectures(self) -> list[int]:
        count = ctypes.c_int()
        self._call("nvrtcGetNumSupportedArchs", ctypes.byref(count))
        found = (ctypes.c_int * count.value)()
        self._call("nvrtcGetSupportedArchs", found)
        return list(found)

    def compile(self, path: Path, options: tuple[str, ...], kind: str = "CUBIN") -> tuple[bytes, str]:
        """The machine code (or with kind="PTX" NVIDIA's assembler text) and what the compiler said."""
        program = ctypes.c_void_p()
        self._call("nvrtcCreateProgram", ctypes.byref(program), path.read_bytes(), path.name.encode(), 0, None, None)
        given = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
        status = self.library.nvrtcCompileProgram(program, len(options), given)
        log = self._bytes("ProgramLog", program).rstrip(b"\0").decode()
        assert status == 0, log
        code = self._bytes(kind, program)
        self._call("nvrtcDestroyProgram", ctypes.byref(program))
        return code, log


@pytest.fixture(scope="module")
def nvrtc():
    if not nvrtc_library():
        pytest.skip("NVRTC is not installed: pip install nvidia-cuda-nvrtc (with CUDA 12: nvidia-cuda-nvrtc-cu12)")
    return Nvrtc(nvrtc_library())


@pytest.fixture(autouse=True)
def these_sources(monkeypatch):
    monkeypatch.setattr(cuda, "folder", lambda: FOLDER)
    cuda.sources.cache_clear()


def cupy_options(dtype: np.dtype, architecture: int) -> tuple[str, ...]:
    """What CuPy 14.2 passes to NVRTC for a RawModule (cupy/cuda/compiler.py).

    But for the folders of its own headers and of CUDA's, which the kernels must do without.
    """
    return (*cuda.options(dtype), "-ftz=true", f"-arch=sm_{architecture}", "--device-as-default-execution-space")


@pytest.mark.slow
@pytest.mark.parametrize("size", DTYPES, ids=["float32", "float64"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_nvrtc_compiles_as_for_cupy(nvrtc, path, architecture, size):
    if architecture not in nvrtc.architectures():
        pytest.skip(f"this NVRTC does not know sm_{architecture}")
    code, log = nvrtc.compile(path, cupy_options(DTYPES[size], architecture))
    assert not log
    names = {name for name, file in cuda.sources().items() if file == path.name}
    symbols = {name.decode() for name in re.findall(rb"\0\.text\.(\w+)", code)}
    assert symbols == {f"{name}_f{8 * size}" for name in names}


@pytest.mark.parametrize("size", DTYPES, ids=["float32", "float64"])
def test_augment_rounds_like_the_cpu(nvrtc, size):
    """A multiply-add rounds once where NumPy rounds twice."""
    options = [option.replace("sm_", "compute_") for option in cupy_options(DTYPES[size], 80)]
    text, _ = nvrtc.compile(FOLDER / "augment.cu", tuple(options), "PTX")
    assert b"mul.rn." in text and b"fma." not in text


def test_nvrtc_finds_mistakes(nvrtc, tmp_path):
    path = tmp_path / "wrong.cu"
    path.write_text('#include "real.cuh"\nKERNEL NAME(wrong)(real *x) { __shared__ real a[20000]; a[0] = nonsense; }')
    with pytest.raises(AssertionError, match=r'wrong.cu\(2\): error: identifier "nonsense" is undefined'):
        nvrtc.compile(path, cupy_options(DTYPES[4], 80))
    path.write_text(
        '#include "real.cuh"\nKERNEL NAME(large)(real *x) { __shared__ real a[20000]; a[threadIdx.x] = *x; *x = a[9]; }'
    )
    with pytest.raises(AssertionError, match=r"uses too much shared data \(0x13880 bytes, 0xc000 max\)"):
        nvrtc.compile(path, cupy_options(DTYPES[4], 80))


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("nvcc"), reason="nvcc is not installed")
@pytest.mark.parametrize("size", DTYPES, ids=["float32", "float64"])
@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_nvcc_compiles(path, size, tmp_path):
    targets = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in ARCHITECTURES]
    command = ["nvcc", "-fatbin", *cuda.options(DTYPES[size]), *targets, str(path), "-o", str(tmp_path / "out")]
    done = subprocess.run([*command, "-Werror", "all-warnings"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + done.stdout


# One contract for C and CUDA

HEADER = (FOLDER.parent / "minicnn.h").read_text()


def structures(text: str) -> dict[str, list[str]]:
    """For each structure its fields in order, as 'type name'."""
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    found = {}
    for body, name in re.findall(r"typedef struct \{(.*?)\} (\w+);", text, re.DOTALL):
        fields = []
        for kind, names in re.findall(r"(\w+)\s+([^;]+);", body):
            fields += [f"{kind} {field.strip()}" for field in names.split(",")]
        found[name] = fields
    return found


def test_geometries_have_the_fields_of_minicnn_h():
    mine, theirs = structures((FOLDER / "geometry.cuh").read_text()), structures(HEADER)
    assert set(mine) == set(theirs) == {"conv2d_geometry", "pool2d_geometry", "batch_norm_layout"}
    for name in theirs:
        assert mine[name] == [field.replace("int64_t ", "int64 ") for field in theirs[name]], name


def test_every_kernel_has_the_name_of_one_in_minicnn_h():
    in_c = set(re.findall(r"(\w+)_f32\(", HEADER))
    in_cuda = set(cuda.sources())
    assert in_c & in_cuda, "no kernel is in both"
    more = {name for name in in_cuda - in_c if not WAYS.fullmatch(name)}
    assert more == set(HELPERS), "the kernels without a twin in C"
    fewer = {name for name in in_c - in_cuda if not CPU_ONLY.match(name)}
    assert fewer == ELSEWHERE, "the C kernels without a twin in CUDA"


def test_the_emulation_knows_every_kernel():
    assert {name for path in SOURCES for name in KERNELS.findall(path.read_text())} == {
        f"NAME({name})" for name in cuda.sources()
    }


# Where there is no CUDA


def test_importing_minicnn_does_not_import_cupy(tmp_path):
    (tmp_path / "cupy.py").write_text("raise SystemExit('cupy was imported')")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import minicnn; minicnn.ops.relu(minicnn.Tensor([1.0])); "
        "assert 'cupy' not in sys.modules and 'matplotlib' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif("cuda" in backends.available(), reason="CUDA is here")
def test_asking_for_cuda_says_in_one_line_what_is_missing():
    x = minicnn.Tensor([1.0])
    for ask in (
        lambda: backends.get("cuda"),
        lambda: x.to("cuda"),
        lambda: minicnn.models.create("lenet5", device="cuda"),
    ):
        with pytest.raises(BackendError, match="backend cuda: .*(CuPy|NVIDIA|GPU)") as raised:
            ask()
        assert "\n" not in str(raised.value)
