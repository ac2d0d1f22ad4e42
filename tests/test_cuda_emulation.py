"""CUDA's threads, barriers and shuffles as fibres on the CPU: they do what a GPU does, and mistakes are noticed."""

from __future__ import annotations

import platform

import emulated_cuda
import numpy as np
import pytest
from emulated_cuda import FOLDER, emulated

pytestmark = pytest.mark.skipif(bool(emulated_cuda.missing()), reason=emulated_cuda.missing())
NULL = np.uint64(0)


def kernel(code, name="test", dtype=np.float32, folder=FOLDER):
    """The kernel NAME(test) of a code that includes real.cuh."""
    options = ("-std=c++17", f"-I{folder}", f"-DREAL_BYTES={np.dtype(dtype).itemsize}")
    suffix = "_f32" if dtype == np.float32 else "_f64"
    return emulated.RawModule(code='#include "real.cuh"\n' + code, options=options).get_function(name + suffix)


def test_every_thread_has_its_indices():
    run = kernel("""
KERNEL NAME(test)(int *out)
{
    int block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    int thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    int *mine = out + 6 * (block * (blockDim.x * blockDim.y * blockDim.z) + thread);
    mine[0] = blockIdx.x, mine[1] = blockIdx.y, mine[2] = blockIdx.z;
    mine[3] = threadIdx.x, mine[4] = threadIdx.y, mine[5] = threadIdx.z;
}""")
    out = np.full((2, 3, 2, 4, 3, 5, 6), -1, np.int32)  # z, y, x of the grid, then of the block
    run((2, 3, 2), (5, 3, 4), (out,))
    expected = np.stack(np.indices(out.shape[:6]), axis=-1)[..., [2, 1, 0, 5, 4, 3]]
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("threads", [1, 31, 256, 1024])
def test_a_share_reaches_every_number_on_any_grid(threads):
    run = kernel("KERNEL NAME(test)(real *out, int64 n) { SHARE(i, n) out[i] += i; }")
    for grid in (1, 2, 7):
        out = np.zeros(1000, np.float32)
        run((grid,), (threads,), (out, out.size))
        np.testing.assert_array_equal(out, np.arange(1000))


@pytest.mark.parametrize("grid, block", [((1,), (1025,)), ((1,), (8, 8, 17)), ((0,), (1,)), ((1, 65536), (1,))])
def test_a_grid_that_a_gpu_refuses(grid, block):
    run = kernel("KERNEL NAME(test)(real *out) {}")
    with pytest.raises(AssertionError, match="test_f32, forward: a (block|grid) has"):
        run(grid, block, (np.zeros(1, np.float32),))


# Barriers and shared memory

MOMENTS = """
KERNEL NAME(test)(const real *x, real *out, int64 n)
{
    __shared__ wide room[THREADS];
    wide mine = 0;
    for (int64 i = threadIdx.x; i < n; i += THREADS)
        mine += x[blockIdx.x * n + i];
    wide mean = block_sum(mine, room) / n;
    mine = 0;
    for (int64 i = threadIdx.x; i < n; i += THREADS)
        mine += (x[blockIdx.x * n + i] - mean) * (x[blockIdx.x * n + i] - mean);
    wide variance = block_sum(mine, room) / n;
    if (threadIdx.x == 0)
        out[blockIdx.x] = mean;
    if (threadIdx.x == THREADS - 1)
        out[gridDim.x + blockIdx.x] = variance;
}"""


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sums_of_blocks(rng, dtype):
    x, out = rng.standard_normal((3, 1000)).astype(dtype), np.full((2, 3), np.nan, dtype)
    kernel(MOMENTS, dtype=dtype)((3,), (256,), (x, out, 1000))
    np.testing.assert_allclose(out, [x.mean(axis=1), x.var(axis=1)], rtol=1e-5)


@pytest.mark.parametrize("which", range(3))
def test_each_barrier_of_block_sum_is_missed(rng, tmp_path, which):
    parts = (FOLDER / "real.cuh").read_text().split("__syncthreads();")
    assert len(parts) == 4
    planted = "__syncthreads();".join(parts[: which + 1]) + ";" + "__syncthreads();".join(parts[which + 1 :])
    (tmp_path / "real.cuh").write_text(planted)
    x, out = rng.standard_normal((3, 1000)).astype(np.float32), np.zeros((2, 3), np.float32)
    with pytest.raises(AssertionError, match="test_f32: argument 1 depends on the order of the threads"):
        kernel(MOMENTS, folder=tmp_path)((3,), (256,), (x, out, 1000))


def test_a_block_that_counts_on_another_is_noticed():
    run = kernel("KERNEL NAME(test)(int *x) { x[blockIdx.x] = x[(blockIdx.x + 1) % gridDim.x] + 1; }")
    with pytest.raises(AssertionError, match="depends on the order"):
        run((2,), (1,), (np.zeros(2, np.int32),))


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="told to the processor of x86-64 alone")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_denormal_numbers_are_zero_in_float32(dtype):
    run = kernel(
        "KERNEL NAME(test)(const real *x, real *out) { out[0] = x[0] * 2; out[1] = x[1] * x[1]; }", dtype=dtype
    )
    tiny = np.finfo(dtype).tiny
    x, out = np.array([tiny / 4, np.sqrt(tiny / 4)], dtype), np.full(2, 7, dtype)
    run((1,), (1,), (x, out))
    np.testing.assert_array_equal(out, 0 if dtype == np.float32 else [tiny / 2, x[1] * x[1]])
    assert np.float32(1e-40) * np.float32(1) != 0  # outside of a launch nothing has changed


def test_shared_memory_holds_no_zeros():
    run = kernel("""
KERNEL NAME(test)(real *out)
{
    __shared__ real a[32];
    __shared__ real b[32];
    if (out[threadIdx.x] > 1)
        b[threadIdx.x] = 0;
    out[threadIdx.x] = blockIdx.x == 0 ? a[threadIdx.x] : b[threadIdx.x];
}""")
    out = np.zeros(32, np.float32)
    for grid in (1, 2):
        run((grid,), (32,), (out,))
        assert np.isnan(out).all()


def test_a_block_does_not_see_what_another_left():
    run = kernel("""
KERNEL NAME(test)(real *out)
{
    __shared__ real a;
    if (blockIdx.x % 2 == 0)
        a = 1;
    out[blockIdx.x] = a;
}""")
    out = np.zeros(4, np.float32)
    run((4,), (1,), (out,))
    np.testing.assert_array_equal(out, [1, np.nan, 1, np.nan])


def test_threads_at_different_barriers():
    run = kernel("""
KERNEL NAME(test)(int *out)
{
    if (threadIdx.x < 20)
        __syncthreads();
    else
        __syncthreads();
    out[threadIdx.x] = 1;
}""")
    message = r"block \(0, 0, 0\): thread 0 waits at code.cu:6, thread 20 waits at code.cu:8"
    with pytest.raises(AssertionError, match=message):
        run((1,), (64,), (np.zeros(64, np.int32),))
    out = np.zeros(20, np.int32)
    run((1,), (20,), (out,))  # an error leaves nothing behind
    assert out.all()


def test_threads_that_have_ended_are_not_waited_for():
    run = kernel("""
KERNEL NAME(test)(int *out)
{
    __shared__ int a[64];
    if (threadIdx.x >= 40)
        return;
    a[threadIdx.x] = threadIdx.x;
    __syncthreads();
    out[threadIdx.x] = a[39 - threadIdx.x];
}""")
    out = np.full(64, 7, np.int32)
    run((1,), (64,), (out,))
    np.testing.assert_array_equal(out, [*range(39, -1, -1), *[7] * 24])


# Warps


def test_shuffles_within_a_warp():
    run = kernel("""
KERNEL NAME(test)(const real *x, real *out)
{
    int i = threadIdx.x;
    real v = x[i];
    real *row = out + i * 8;
    row[0] = __shfl_sync(0xffffffff, v, 3);
    row[1] = __shfl_sync(0xffffffff, v, 3, 8);
    row[2] = __shfl_up_sync(0xffffffff, v, 2);
    row[3] = __shfl_up_sync(0xffffffff, v, 2, 8);
    row[4] = __shfl_down_sync(0xffffffff, v, 5);
    row[5] = __shfl_down_sync(0xffffffff, v, 5, 16);
    row[6] = __shfl_xor_sync(0xffffffff, v, 9);
    row[7] = __shfl_xor_sync(0xffffffff, v, 1, 4);
}""", dtype=np.float64)  # fmt: skip
    x, out = np.arange(64.0), np.zeros((64, 8))
    run((1,), (64,), (x, out))
    i = np.arange(64)
    expected = [
        i // 32 * 32 + 3,
        i // 8 * 8 + 3,
        np.where(i % 32 < 2, i, i - 2),
        np.where(i % 8 < 2, i, i - 2),
        np.where(i % 32 > 26, i, i + 5),
        np.where(i % 16 > 10, i, i + 5),
        i ^ 9,
        i ^ 1,
    ]
    np.testing.assert_array_equal(out.T, expected)


def test_a_sum_by_shuffles_of_every_type():
    run = kernel("""
template <typename T> __device__ T sum(T v)
{
    for (int distance = 16; distance > 0; distance /= 2)
        v += __shfl_down_sync(0xffffffff, v, distance);
    return __shfl_sync(0xffffffff, v, 0);
}
KERNEL NAME(test)(int *a, unsigned *b, int64 *c, float *d, double *e)
{
    int i = threadIdx.x;
    a[i] = sum(-i), b[i] = sum((unsigned)i), c[i] = sum((int64)i << 32), d[i] = sum(i * 0.5f), e[i] = sum(i * 0.25);
}""")
    outs = [np.zeros(96, t) for t in (np.int32, np.uint32, np.int64, np.float32, np.float64)]
    run((1,), (96,), tuple(outs))
    total = np.arange(96).reshape(3, 32).sum(axis=1).repeat(32)
    for out, factor in zip(outs, (-1, 1, 2**32, 0.5, 0.25)):
        np.testing.assert_array_equal(out, total * factor)


@pytest.mark.parametrize(
    "line, message",
    [
        (
            "if (i != 5) x[i] = __shfl_sync(0xffffffff, x[i], 0); else __syncthreads();",
            "for its warp, thread 5 waits at",
        ),
        ("if (i % 2) x[i] = __shfl_sync(0x55555555, x[i], 0);", "the mask does not name the thread itself"),
        ("x[i] = __shfl_sync(i < 16 ? 0xffffffff : 0xffff0000, x[i], 31);", "for its warp"),
    ],
)
def test_a_thread_that_does_not_come_to_a_shuffle(line, message):
    run = kernel("KERNEL NAME(test)(int *x)\n{\n    int i = threadIdx.x;\n    " + line + "\n}")
    with pytest.raises(AssertionError, match=message):
        run((1,), (32,), (np.zeros(32, np.int32),))


def test_a_shuffle_from_who_has_ended_gives_nan():
    run = kernel("""
KERNEL NAME(test)(real *out)
{
    if (threadIdx.x == 9)
        return;
    out[threadIdx.x] = __shfl_sync(0xffffffff, (real)1, 9);
}""")
    out = np.zeros(32, np.float32)
    run((1,), (32,), (out,))
    np.testing.assert_array_equal(np.isnan(out), np.arange(32) != 9)


def test_a_warp_that_lacks_its_barrier_is_noticed():
    code = """
KERNEL NAME(test)(int *out)
{
    __shared__ int a[32];
    a[threadIdx.x] = threadIdx.x;
    __syncwarp();
    out[threadIdx.x] = a[31 - threadIdx.x];
}"""
    out = np.zeros(32, np.int32)
    kernel(code)((1,), (32,), (out,))
    np.testing.assert_array_equal(out, np.arange(31, -1, -1))
    with pytest.raises(AssertionError, match="depends on the order"):
        kernel(code.replace("    __syncwarp();\n", ""))((1,), (32,), (out,))


# Atomics


def test_atomics():
    run = kernel("""
KERNEL NAME(test)(int *sums, unsigned *many, unsigned long long *large, float *f, double *d)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    atomicAdd(&sums[0], 1);
    atomicMax(&sums[1], i);
    atomicMax(&many[0], (unsigned)i << 20);
    atomicAdd(large, 1ull << 33);
    atomicAdd(f, 0.5f);
    atomicAdd(d, 0.25);
    if (atomicCAS(&sums[2], 0, 5) == 0)
        atomicAdd(&sums[3], 1);
}""")
    sums, many, large = np.zeros(4, np.int32), np.zeros(1, np.uint32), np.zeros(1, np.uint64)
    f, d = np.zeros(1, np.float32), np.zeros(1)
    run((3,), (100,), (sums, many, large, f, d))
    assert sums.tolist() == [300, 299, 5, 1]
    assert (many[0], large[0], f[0], d[0]) == (299 << 20, 300 * 2**33, 150, 75)


def test_a_sum_whose_rounding_depends_on_the_order_is_noticed(rng):
    run = kernel("KERNEL NAME(test)(const real *x, real *out) { atomicAdd(out, x[blockIdx.x]); }")
    with pytest.raises(AssertionError, match="depends on the order"):
        run((500,), (1,), (rng.standard_normal(500).astype(np.float32), np.zeros(1, np.float32)))


# Memory


@pytest.mark.parametrize("where", [-1, 100, 103, -500, 1000])
def test_a_write_beyond_an_array_is_noticed(where):
    run = kernel("KERNEL NAME(test)(real *x, real *out, int64 i) { out[i] = 1; }")
    x, out = np.zeros(100, np.float32), np.zeros(100, np.float32)
    with pytest.raises(
        AssertionError, match=f"test_f32 writes outside of argument 1: number {where} from its beginning"
    ):
        run((1,), (1,), (x, out, where))
    assert not out.any()


def test_a_copy_of_what_lies_beyond_an_array_is_noticed():
    run = kernel("KERNEL NAME(test)(const real *x, real *out, int64 n) { SHARE(i, n) out[i] = x[i] + 1; }")
    x, out = np.zeros(100, np.float32), np.zeros(100, np.float32)
    with pytest.raises(AssertionError, match="writes outside of argument 1: number 100 "):
        run((1,), (256,), (x, out, 101))
    run((1,), (256,), (x[:99], out, 100))
    np.testing.assert_array_equal(np.isnan(out), np.arange(100) == 99)


def test_arguments_that_overlap_still_do():
    run = kernel("""
KERNEL NAME(test)(const real *a, const real *b, real *out)
{
    out[threadIdx.x] = a[threadIdx.x] + b[threadIdx.x];
}""")
    whole = np.arange(12, dtype=np.float32)
    run((1,), (4,), (whole[4:8], whole[8:], whole[4:8]))
    np.testing.assert_array_equal(whole, [0, 1, 2, 3, 12, 14, 16, 18, 8, 9, 10, 11])
    run((1,), (2,), (whole[4:8], whole[6:10], whole[2:4]))
    np.testing.assert_array_equal(whole[:5], [0, 1, 28, 32, 12])
    with pytest.raises(AssertionError, match="writes outside of argument [012]: number 4 "):
        run((1,), (5,), (whole[4:8], whole[4:8], whole[4:8]))


def test_channels_of_a_wider_array_pass_as_they_lie():
    run = kernel("KERNEL NAME(test)(real *x, int64 step) { x[blockIdx.x * step + threadIdx.x] += 1; }")
    whole = np.zeros((3, 4, 5), np.float32)
    run((3,), (10,), (whole[:, 1:3], 20))
    assert (whole[:, 1:3] == 1).all() and not whole[:, 0].any() and not whole[:, 3].any()
    with pytest.raises(AssertionError, match="writes outside of argument 0: number 10 "):
        run((3,), (11,), (whole[:, 1:3], 20))
    with pytest.raises(AssertionError, match="argument 0 is not contiguous"):
        run((3,), (1,), (whole[:, :, 1:3], 20))


def test_a_read_only_array_may_be_read():
    run = kernel("KERNEL NAME(test)(real *x, real *out) { out[0] = x[0]; if (x[0] > 1) x[0] = 0; }")
    x, out = np.ones(1, np.float32), np.zeros(1, np.float32)
    x.flags.writeable = False
    run((1,), (1,), (x, out))
    assert out[0] == 1
    x = np.full(1, 2, np.float32)
    x.flags.writeable = False
    with pytest.raises(AssertionError, match="writes to argument 0, which is read-only"):
        run((1,), (1,), (x, out))


UNDEFINED = {
    "__shared__ real a[8]; a[n] = 1; x[0] = a[0];": "code.cu:2: thread 0: an index is beyond the array",
    "real a[8] = {0}; a[n - 1] = 1; x[0] = a[n - 9];": "an index is beyond the array",
    "((real *)(n - 8))[n] = x[0];": "touches the address 0x20, which belongs to nobody|a pointer is null or misaligned",
    "*(real *)(n - 8) = x[0];": "a pointer is null or misaligned",
    "struct alignas(16) pack { real a[4]; }; ((pack *)(x + 1))->a[0] = 1;": "a pointer is null or misaligned",
    "x[0] = 1 << (n + 24);": "a shift is too far",
    "x[0] = 0x7fffffff - 7 + (int)n;": "a sum overflows",
    "x[0] = (int)n * 0x10000000;": "a product overflows",
    "x[0] = 1 / (n - 8);": "an integer is divided by 0",
    "x[0] = (int)(1e9 * n);": "a number does not fit the integer",
    "x[-((int64)1 << (n + 34))] = 1;": "touches the address 0x.*, which belongs to nobody",
}


@pytest.mark.parametrize("line", UNDEFINED)
def test_what_is_undefined_is_an_error(line):
    cases = "".join(f"KERNEL NAME(test_{i})(real *x, int64 n) {{ {text} }}\n" for i, text in enumerate(UNDEFINED))
    run = kernel(cases, f"test_{list(UNDEFINED).index(line)}")
    for _ in range(2):
        with pytest.raises(AssertionError, match=UNDEFINED[line]):
            run((1,), (1,), (np.zeros(8, np.float32), 8))


def test_a_stack_that_is_full_is_an_error():
    run = kernel("""
KERNEL NAME(test)(real *x, int64 n)
{
    volatile real a[40000];
    a[n] = x[0];
    x[0] = a[n + 1];
}""")
    with pytest.raises(AssertionError, match="belongs to nobody"):
        run((1,), (2,), (np.zeros(8, np.float32), 8))


# Arguments

TYPES = {
    "bool": np.bool_,
    "signed char": np.int8,
    "unsigned char": np.uint8,
    "short": np.int16,
    "int": np.int32,
    "unsigned": np.uint32,
    "int64": np.int64,
    "unsigned long long": np.uint64,
    "float": np.float32,
    "double": np.float64,
}


@pytest.mark.parametrize("name", TYPES)
def test_every_type_of_argument(name):
    cases = "".join(
        f"KERNEL NAME(test_{i})(const {type} *x, {type} value, {type} *out) {{ out[0] = x[0]; out[1] = value; }}\n"
        for i, type in enumerate(TYPES)
    )
    run = kernel(cases, f"test_{list(TYPES).index(name)}")
    dtype = TYPES[name]
    x, out = np.ones(1, dtype), np.zeros(2, dtype)
    run((1,), (1,), (x, dtype(1), out))
    assert out.tolist() == [1, 1]
    for wrong in set(TYPES.values()) - {dtype, np.bool_, np.uint8}:
        with pytest.raises(TypeError, match="argument 0 is "):
            run((1,), (1,), (x.astype(wrong), dtype(1), out))
        with pytest.raises(TypeError, match="argument 1 is "):
            run((1,), (1,), (x, wrong(1), out))


def test_python_numbers_are_int64_and_float64():
    run = kernel("""
KERNEL NAME(test)(int64 i, double f, int64 flag, const real *nothing, double *out)
{
    out[0] = i, out[1] = f, out[2] = flag, out[3] = !nothing;
}""")
    out = np.zeros(4)
    run((1,), (1,), (2**53, 0.1, True, NULL, out))
    assert out.tolist() == [2**53, 0.1, 1, 1]
    for wrong in (None, "1", 1j, [1]):
        with pytest.raises(TypeError, match="argument 2 is a (NoneType|str|complex|list): CuPy takes"):
            run((1,), (1,), (1, 0.1, wrong, NULL, out))
    with pytest.raises(TypeError, match="4 arguments for 5 parameters"):
        run((1,), (1,), (1, 0.1, 1, NULL))
    with pytest.raises(TypeError, match="argument 3 is uint64"):
        run((1,), (1,), (1, 0.1, 1, np.uint64(8), out))


def test_a_structure_is_int64_numbers_in_memory():
    run = kernel("struct pair { int64 a, b; };\nKERNEL NAME(test)(const pair *p, int64 *out) { out[0] = p->a - p->b; }")
    out = np.zeros(1, np.int64)
    run((1,), (1,), (np.array([7, 4]), out))
    assert out[0] == 3
    for wrong in (np.array([1, 2, 3]), np.array([1, 2], np.int32)):
        with pytest.raises(TypeError, match="argument 0"):
            run((1,), (1,), (wrong, out))


def test_a_table_of_addresses():
    run = kernel("""
KERNEL NAME(test)(const int64 *table, int64 more)
{
    const int64 *mine = table + 2 * blockIdx.x;
    for (int64 i = threadIdx.x; i < mine[1] + more; i += blockDim.x)
        ((real *)mine[0])[i] += blockIdx.x + 1;
}""")
    a, b = np.zeros(5, np.float32), np.zeros(4, np.float32)
    table = np.array([[emulated_cuda.address(a), 5], [emulated_cuda.address(b), 4]])
    before = table.copy()
    run((2,), (64,), (table, 0))
    assert a.tolist() == [1] * 5 and b.tolist() == [2] * 4 and (table == before).all()
    with pytest.raises(AssertionError, match=r"writes outside of argument 0\[(0\]: number 5|2\]: number 4)"):
        run((2,), (64,), (table, 1))
    del a
    with pytest.raises(AssertionError, match=r"argument 0\[0\] is the address of an array that is gone"):
        run((2,), (64,), (table, 0))


def test_arrays_without_numbers():
    run = kernel("KERNEL NAME(test)(const real *x, real *out, int64 n) { SHARE(i, n) out[i] = x[i]; }")
    run((1,), (256,), (np.zeros((0, 3), np.float32), np.zeros((2, 0), np.float32), 0))


def test_new_memory_holds_no_zeros():
    assert np.isnan(emulated.empty((2, 3), np.float32)).all() and np.isnan(emulated.empty(2)).all()
    assert emulated.empty(0).size == 0


def test_a_source_that_does_not_compile_says_why():
    with pytest.raises(AssertionError, match="code.cu:2:.*nonsense"):
        kernel("KERNEL NAME(test)(nonsense x) {}")


# The backend


def test_the_backend_computes_on_numpy_arrays(rng):
    from minicnn import Tensor, backends, ops

    cuda = emulated_cuda.backend()
    assert "relu" in cuda.native
    x = Tensor(rng.standard_normal((3, 5)).astype(np.float32), requires_grad=True)
    before = emulated_cuda.launches.copy()
    with backends.using(cuda, None):
        y = ops.relu(x)
        y.backward(np.ones((3, 5), np.float32))
    np.testing.assert_array_equal(y.numpy(), np.maximum(x.numpy(), 0))
    np.testing.assert_array_equal(x.grad.numpy(), x.numpy() > 0)
    launched = emulated_cuda.launches - before
    assert launched["relu_f32"] == 1 and launched["relu_grad_f32"] == 1
