/* Pictures made ready for training: cropped, mirrored and normalised. */
#include "real.cuh"

/* Rounded, and no part of a multiply-add, which would round once where NumPy rounds twice. */
__device__ inline float product(float a, float b) { return __fmul_rn(a, b); }
__device__ inline double product(double a, double b) { return __dmul_rn(a, b); }

/* out (N, C, P, Q): P x Q pixels of each of N pictures out of `images`, uint8 (any number, C, H, W), or (any number, H, W, C) with
 * channels_last. places (N, 4): the picture's number, the row and the column where the crop begins, and whether it is mirrored
 * left to right. What is outside the picture is `fill`. A number v becomes v*slope + shift, both (C), to the bits of the CPU. */
KERNEL NAME(augment)(
    const unsigned char *images, const int64 *places, const real *slope, const real *shift, int64 N, int64 C, int64 H, int64 W,
    int64 P, int64 Q, double fill, int64 channels_last, real *out)
{
    SHARE(i, N * C * P * Q) {
        int64 q = i % Q, line = i / Q, p = line % P, plane = line / P, c = plane % C;
        const int64 *place = places + plane / C * 4;
        int64 h = place[1] + p, w = place[2] + (place[3] ? Q - 1 - q : q);
        real v = (real)fill;
        if (h >= 0 && h < H && w >= 0 && w < W)
            v = images[place[0] * C * H * W + (channels_last ? (h * W + w) * C + c : (c * H + h) * W + w)];
        out[i] = product(v, slope[c]) + shift[c];
    }
}
