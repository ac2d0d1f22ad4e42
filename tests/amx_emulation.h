/* The tile instructions of AMX in plain C, for tests: kernels/c/amx.h includes this with MINICNN_EMULATE_AMX. After Intel's
 * manual (SDM volume 2, TDPBF16PS): denormal numbers are 0 on the way in and out, the products of the even and of the odd
 * neighbours are summed up apart, with one rounding each, and their sum is added to the tile last. As on the processor, a thread
 * that has not configured its tiles, or has released them, must not touch them. */
#ifndef AMX_EMULATION_H
#define AMX_EMULATION_H

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

enum { TILE_ROWS = 16, TILE_WORDS = 16 };

static _Thread_local struct {
    int configured;
    uint32_t words[8][TILE_ROWS][TILE_WORDS];
} amx;

static inline void amx_check(int tile)
{
    if (!amx.configured || tile < 0 || tile > 7)
        __builtin_trap();
}

static inline void _tile_loadconfig(const void *config)
{
    const uint8_t *bytes = config;
    if (bytes[0] != 1)
        __builtin_trap();
    for (int tile = 0; tile < 8; tile++) /* all that amx.h uses: whole tiles */
        if (bytes[16 + 2 * tile] != 64 || bytes[17 + 2 * tile] != 0 || bytes[48 + tile] != TILE_ROWS)
            __builtin_trap();
    memset(amx.words, 0, sizeof(amx.words));
    amx.configured = 1;
}

static inline void _tile_release(void) { amx.configured = 0; }

static inline void _tile_zero(int tile)
{
    amx_check(tile);
    memset(amx.words[tile], 0, sizeof(amx.words[tile]));
}

static inline void _tile_loadd(int tile, const void *base, int64_t stride)
{
    amx_check(tile);
    for (int row = 0; row < TILE_ROWS; row++)
        memcpy(amx.words[tile][row], (const char *)base + row * stride, sizeof(amx.words[tile][row]));
}

static inline void _tile_stored(int tile, void *base, int64_t stride)
{
    amx_check(tile);
    for (int row = 0; row < TILE_ROWS; row++)
        memcpy((char *)base + row * stride, amx.words[tile][row], sizeof(amx.words[tile][row]));
}

static inline float amx_flushed(float x) { return fabsf(x) < FLT_MIN ? copysignf(0, x) : x; }

static inline float amx_float(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof(x));
    return amx_flushed(x);
}

static inline void _tile_dpbf16ps(int to, int a, int b)
{
    amx_check(to), amx_check(a), amx_check(b);
    for (int m = 0; m < TILE_ROWS; m++) {
        float even[TILE_WORDS] = {0}, odd[TILE_WORDS] = {0};
        for (int k = 0; k < TILE_WORDS; k++) {
            uint32_t pair = amx.words[a][m][k];
            float a_even = amx_float(pair << 16), a_odd = amx_float(pair & 0xffff0000);
            for (int n = 0; n < TILE_WORDS; n++) {
                even[n] = amx_flushed(fmaf(a_even, amx_float(amx.words[b][k][n] << 16), even[n]));
                odd[n] = amx_flushed(fmaf(a_odd, amx_float(amx.words[b][k][n] & 0xffff0000), odd[n]));
            }
        }
        for (int n = 0; n < TILE_WORDS; n++) {
            float sum = amx_flushed(amx_float(amx.words[to][m][n]) + amx_flushed(even[n] + odd[n]));
            memcpy(&amx.words[to][m][n], &sum, sizeof(sum));
        }
    }
}

#endif
