"""Solutions of lesson 9, under the names of its exercise cells."""

import numpy as np

# 1. 16x16 places, 96 filters, 3*3*96 numbers under each.
macs = 16 * 16 * 96 * 3 * 3 * 96

# 2. Two 3x3 convolutions with biases, of 96 and of 192 channels.
more = (3 * 3 * 96 + 1) * 96 + (3 * 3 * 192 + 1) * 192

# 3. Each channel from itself alone, and from its nine pixels alike.
weight = np.eye(4)[:, :, None, None] * np.full((3, 3), 1 / 9)

# 4. It uses 16x16 of them.
unused = 32 * 32 - 16 * 16


# 5. Compute every place, keep every s-th.
def with_stride(conv, x, s):
    return conv(x)[:, :, ::s, ::s]
