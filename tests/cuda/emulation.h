/* CUDA C++ as plain C++, for tests without a GPU: g++ -include emulation.h reads a .cu file as it is.
 *
 * A CUDA thread is a fibre: it runs until it waits for others or ends, then the next one does. Blocks run one after the other.
 * A launch runs in one of two opposite orders of threads and blocks, and shared memory holds NaN before each block: where a
 * barrier is missing the two give different numbers. What a GPU leaves undefined ends the launch with a message: threads of a
 * block at different barriers, a thread of a warp that does not come, an index beyond an array whose size is known, a null or
 * misaligned pointer, an overflow (g++ -fsanitize, whose handlers are at the end), an address that belongs to nobody.
 *
 * Denormal numbers are 0 in a file that is compiled for float32, as with the options of CuPy (on x86-64; its float64 numbers too).
 *
 * Not here: dynamic shared memory, cooperative groups, textures, asynchronous copies, tensor cores, half types. And nothing shows
 * how much shared memory and how many registers a block has.
 */
#ifndef EMULATION_H
#define EMULATION_H
#include "fibres.h"

#include <math.h>

#include <type_traits>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))

constexpr int warpSize = 32;

namespace emulation {

static void **arguments;

/* What cuLaunchKernel does: call a kernel with what an array of pointers points to. */
template <auto kernel> struct Kernel;
template <typename... Args, void (*kernel)(Args...)> struct HIDDEN Kernel<kernel> {
    template <size_t... i> static void call(std::index_sequence<i...>) { kernel(*(Args *)arguments[i]...); }
    static void run() { call(std::index_sequence_for<Args...>()); }

    /* The parameters in NumPy's words: "*f4 i8 f8"; s: a structure, v: void. */
    static const char *signature()
    {
        static char text[1000];
        char *end = text;
        (write<Args>(end), ...);
        return text;
    }
    template <typename T> static void write(char *&end)
    {
        if constexpr (std::is_pointer_v<T>) {
            *end++ = '*';
            write<std::remove_cv_t<std::remove_pointer_t<T>>>(end);
        } else if constexpr (std::is_void_v<T>)
            end += sprintf(end, "v ");
        else {
            bool is_float = std::is_floating_point_v<T>, is_struct = std::is_class_v<T>, is_signed = std::is_signed_v<T>;
            end += sprintf(end, "%c%d ", is_struct ? 's' : is_float ? 'f' : is_signed ? 'i' : 'u', (int)sizeof(T));
        }
    }
};

static int lane() { return (int)(current - threads) % WARP; }

template <typename T> static T of_lane(int source, unsigned mask, T value, const char *file, int line)
{
    static_assert(std::is_arithmetic_v<T> && sizeof(T) >= 4, "a shuffle takes 4 or 8 bytes");
    if (!(mask >> lane() & 1))
        fail(file, line, "the mask does not name the thread itself");
    current->mask = mask, current->source = source, current->value = 0;
    memcpy(&current->value, &value, sizeof(T));
    wait(IN_WARP, file, line);
    memcpy(&value, &current->received, sizeof(T));
    return value;
}

} // namespace emulation

#define WHERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

static void __syncthreads(WHERE) { emulation::wait(emulation::AT_BARRIER, file, line); }
static void __syncwarp(unsigned mask = ~0u, WHERE) { emulation::of_lane(emulation::lane(), mask, 0, file, line); }
static void __threadfence() {}
static void __threadfence_block() {}

template <typename T> static T __shfl_sync(unsigned mask, T value, int source, int width = 32, WHERE)
{
    return emulation::of_lane((emulation::lane() & -width) | (source & (width - 1)), mask, value, file, line);
}

template <typename T> static T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, WHERE)
{
    int lane = emulation::lane(), source = lane - (int)delta;
    return emulation::of_lane(source < (lane & -width) ? lane : source, mask, value, file, line);
}

template <typename T> static T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, WHERE)
{
    int lane = emulation::lane(), source = lane + (int)delta;
    return emulation::of_lane(source > (lane | (width - 1)) ? lane : source, mask, value, file, line);
}

template <typename T> static T __shfl_xor_sync(unsigned mask, T value, int other, int width = 32, WHERE)
{
    int lane = emulation::lane(), source = lane ^ other;
    return emulation::of_lane(source > (lane | (width - 1)) ? lane : source, mask, value, file, line);
}

#define ATOMIC(name, result)                                                     \
    template <typename T> static T name(T *address, std::common_type_t<T> value) \
    {                                                                            \
        T old = *address;                                                        \
        *address = result;                                                       \
        return old;                                                              \
    }
ATOMIC(atomicAdd, old + value)
ATOMIC(atomicMax, value > old ? value : old)
template <typename T> static T atomicCAS(T *address, std::common_type_t<T> expected, std::common_type_t<T> value)
{
    T old = *address;
    *address = old == expected ? value : old;
    return old;
}

/* Of what CUDA has beyond math.h. */
template <typename T> static T __ldg(const T *address) { return *address; }
template <typename A, typename B> static constexpr std::common_type_t<A, B> min(A a, B b)
{
    if constexpr (std::is_floating_point_v<std::common_type_t<A, B>>)
        return fmin(a, b);
    else
        return b < a ? b : a;
}
template <typename A, typename B> static constexpr std::common_type_t<A, B> max(A a, B b)
{
    if constexpr (std::is_floating_point_v<std::common_type_t<A, B>>)
        return fmax(a, b);
    else
        return a < b ? b : a;
}
static float __fmul_rn(float x, float y) { return x * y; } /* g++ is told to make no multiply-adds */
static double __dmul_rn(double x, double y) { return x * y; }
static float rsqrtf(float x) { return 1 / sqrtf(x); }
static float rsqrt(float x) { return 1 / sqrtf(x); }
static double rsqrt(double x) { return 1 / sqrt(x); }

/* What g++ -fsanitize calls. */
struct Place {
    const char *file;
    unsigned line, column;
};
#define UNDEFINED(kind, what, ...)                                                  \
    extern "C" HIDDEN void __ubsan_handle_##kind(void *place, __VA_ARGS__)          \
    {                                                                               \
        emulation::fail(((Place *)place)->file, (int)((Place *)place)->line, what); \
    }
UNDEFINED(out_of_bounds, "an index is beyond the array", void *)
UNDEFINED(type_mismatch_v1, "a pointer is null or misaligned", void *)
UNDEFINED(shift_out_of_bounds, "a shift is too far", void *, void *)
UNDEFINED(add_overflow, "a sum overflows", void *, void *)
UNDEFINED(sub_overflow, "a difference overflows", void *, void *)
UNDEFINED(mul_overflow, "a product overflows", void *, void *)
UNDEFINED(negate_overflow, "a negation overflows", void *)
UNDEFINED(divrem_overflow, "an integer is divided by 0", void *, void *)
UNDEFINED(float_cast_overflow, "a number does not fit the integer it is made", void *)

/* Behind a file's end, for each of its kernels: what Python calls. */
#define EMULATED(kernel) EMULATED_(kernel)
#define EMULATED_(kernel)                                                                         \
    extern "C" const char *signature_##kernel() { return emulation::Kernel<kernel>::signature(); } \
    extern "C" const char *launch_##kernel(const unsigned *sizes, void **arguments, int backward)  \
    {                                                                                              \
        emulation::arguments = arguments;                                                          \
        return emulation::launch(emulation::Kernel<kernel>::run, sizes, backward);                 \
    }

#endif
