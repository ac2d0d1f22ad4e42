/* What was compiled, and what this processor can run. */
#if defined(__AMX_BF16__) && defined(__linux__)
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <unistd.h>
#endif
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "../minicnn.h"
#include "machine.h"

const char *minicnn_compiler(void)
{
#if defined(__clang__)
    return "clang " __clang_version__;
#elif defined(__GNUC__)
    return "gcc " __VERSION__;
#else
    return "unknown";
#endif
}

int minicnn_openmp(void)
{
#ifdef _OPENMP
    return _OPENMP;
#else
    return 0;
#endif
}

/* Everything that -march=x86-64-v3 and -march=x86-64-v4, and what comes after them in setup.py, let the compiler use, as the
 * psABI of x86-64 lists it, and whether the system keeps the wide registers (xgetbv). The processor itself is asked:
 * __builtin_cpu_supports knows these levels too late (gcc 12, clang 17), some features under no name, and on Windows needs a
 * library of clang's that is often not there. */
int minicnn_cpu_level(void)
{
#if defined(__x86_64__)
    enum { FMA = 1 << 12, SSE42 = 1 << 20, MOVBE = 1 << 22, POPCNT = 1 << 23, OSXSAVE = 1 << 27, AVX = 1 << 28, F16C = 1 << 29 };
    enum { LZCNT = 1 << 5, BMI = 1 << 3, AVX2 = 1 << 5, BMI2 = 1 << 8 };
    enum { AVX512F = 1 << 16, AVX512DQ = 1 << 17, AVX512CD = 1 << 28, AVX512BW = 1 << 30 };
    enum { AMX_BF16 = 1 << 22, AMX_TILE = 1 << 24, AVX512_BF16 = 1 << 5 };
    enum { YMM = 0x6, ZMM = 0xe6, TILES = 0x60000 }; /* registers that the system keeps */
    const unsigned basic = FMA | SSE42 | MOVBE | POPCNT | OSXSAVE | AVX | F16C, extended = BMI | AVX2 | BMI2;
    const unsigned wide = AVX512F | AVX512DQ | AVX512CD | AVX512BW | 1u << 31; /* the last is AVX512VL */
    unsigned a, b, c, d, kept, high;
    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & basic) != basic)
        return 0;
    if (!__get_cpuid(0x80000001, &a, &b, &c, &d) || !(c & LZCNT))
        return 0;
    __asm__ volatile("xgetbv" : "=a"(kept), "=d"(high) : "c"(0));
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (b & extended) != extended || (kept & YMM) != YMM)
        return 0;
    if ((b & wide) != wide || (kept & ZMM) != ZMM)
        return 1;
    int has_tiles = (d & (AMX_BF16 | AMX_TILE)) == (AMX_BF16 | AMX_TILE) && (kept & TILES) == TILES, more = a > 0;
    if (!more || !__get_cpuid_count(7, 1, &a, &b, &c, &d) || !(a & AVX512_BF16))
        return 2;
    return has_tiles ? 4 : 3;
#else
    return 0;
#endif
}

int minicnn_terms(UNUSED int precision)
{
#if defined(__AMX_BF16__) || defined(MINICNN_EMULATE_AMX)
    return precision == 0 ? 6 : precision == 1 ? 3 : 1; /* products of tiles run twelve times as fast as multiply-adds */
#elif defined(__AVX512BF16__)
    return precision == 2 ? 1 : 0; /* twice as fast */
#else
    return 0;
#endif
}

/* Linux gives a process the tiles of AMX only on request: arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA). */
int minicnn_ready(void)
{
#if !defined(__AMX_BF16__)
    return 1;
#elif defined(__linux__) && defined(SYS_arch_prctl)
    return syscall(SYS_arch_prctl, 0x1023, 18) == 0;
#else
    return 0;
#endif
}
