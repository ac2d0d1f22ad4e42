/* How the threads of a block go through their part of N images of L numbers, between which there may be others. */
#ifndef MINICNN_WALK_CUH
#define MINICNN_WALK_CUH
#include "pack.cuh"

/* The way of a thread. It takes LANES numbers at a time: a pack where the arrays are `packed`, that is where each image is so many
 * packs, else numbers that are THREADS apart. */
typedef struct {
    int64 image, pixel, left; /* the next number, and how many are left from there to the end of the part */
    int64 images, pixels, L;  /* how far it is to the one after that */
} walk;

/* Where the numbers lie that a thread takes at a time. `count` are its own, the others can be read too. */
typedef struct {
    int64 image[LANES], pixel[LANES];
    int count;
} places;

/* At the beginning of part `part` of `parts`, which are alike but for the last. */
template <bool packed> __device__ inline walk set_out(int64 N, int64 L, int64 part, int64 parts)
{
    int64 unit = packed ? LANES : 1, share = ceil_div(N * L, parts * LANES) * LANES, width = larger(1, L);
    int64 first = part * share + threadIdx.x * unit, end = smaller(N * L, (part + 1) * share), step = THREADS * unit;
    return {first / width, first % width, end - first, step / width, step % width, width};
}

/* The next places: none are its own once nothing is left. There has to be a number to read, the first of all. */
template <bool packed> __device__ inline places go_on(walk *w)
{
    places p;
    p.count = 0;
#pragma unroll
    for (int k = 0; k < (packed ? 1 : LANES); k++) {
        bool there = w->left > 0;
        p.image[k] = there ? w->image : 0;
        p.pixel[k] = there ? w->pixel : 0;
        p.count += there ? (packed ? LANES : 1) : 0;
        w->left -= packed ? THREADS * LANES : THREADS;
        w->image += w->images;
        w->pixel += w->pixels;
        if (w->pixel >= w->L) {
            w->pixel -= w->L;
            w->image++;
        }
    }
    return p;
}

/* What an array has in these places; it is to_next numbers from image to image. */
template <bool packed> __device__ inline pack load(const real *x, int64 to_next, const places &p)
{
    pack v;
    if constexpr (packed)
        v = *(const pack *)(x + p.image[0] * to_next + p.pixel[0]);
    else {
#pragma unroll
        for (int k = 0; k < LANES; k++)
            v.lane[k] = x[p.image[k] * to_next + p.pixel[k]];
    }
    return v;
}

template <bool packed> __device__ inline void store(const pack &v, real *x, int64 to_next, const places &p)
{
    if constexpr (packed) {
        if (p.count)
            *(pack *)(x + p.image[0] * to_next + p.pixel[0]) = v;
    } else {
#pragma unroll
        for (int k = 0; k < LANES; k++)
            if (k < p.count)
                x[p.image[k] * to_next + p.pixel[k]] = v.lane[k];
    }
}

#endif
