"""Solutions of lesson 8, under the names of its exercise cells."""

import numpy as np

# 1. Each layer adds 32 channels, each transition halves.
channels = 64
for layers in (6, 12, 24):
    channels = (channels + 32 * layers) // 2
channels += 32 * 16

# 2. Each filter sees the 256/32 channels of its group.
weights = 3 * 3 * (256 // 32) * 256


# 3. For each place: C*R*R + C*K in place of C*R*R*K.
def ratio(K, R):
    return 1 / K + 1 / R**2


# 4. A column times a row.
def together(row, column):
    return np.outer(column, row)


# 5. (1 + s*s)**40 = 2
scale = np.sqrt(2 ** (1 / 40) - 1)
