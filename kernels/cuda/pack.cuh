/* Memory is read and written in packs of 16 bytes where arrays lie so that it can be. */
#ifndef MINICNN_PACK_CUH
#define MINICNN_PACK_CUH
#include "real.cuh"

#define LANES (16 / REAL_BYTES)

struct alignas(16) pack {
    real lane[LANES];
};

/* Whether there can be a pack at `array`, also `step` numbers on, twice as many on and so forth. */
__device__ inline bool is_whole(const void *array, int64 step)
{
    return ((unsigned long long)array | (unsigned long long)(step * REAL_BYTES)) % sizeof(pack) == 0;
}

#endif
