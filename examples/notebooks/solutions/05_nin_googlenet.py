"""Solutions of 05_nin_googlenet.ipynb: what fills its exercise cells."""

import math


# 1. Every filter has a weight for each number that it sees, and a bias.
def block_parameters(window, channels, widths):
    a, b, c = widths
    return (window * window * channels + 1) * a + (a + 1) * b + (b + 1) * c


# 2. At each of 32x32 places 200*n + 25*n*32 = 1,000*n multiply-adds against 25*200*32 = 160,000.
useless_width = 160

# 3. Each adds its own 416 to what the pool hands on.
channels_after_three = 256 + 3 * (128 + 192 + 96)


# 4. The six convolutions; the pool projection reads what the pool hands on, all channels.
def module_work(side, channels, filters):
    one, three_reduce, three, five_reduce, five, projection = filters
    at_each_place = (
        channels * (one + three_reduce + five_reduce + projection) + 9 * three_reduce * three + 25 * five_reduce * five
    )
    return side * side * at_each_place


# 5. Cross-entropy of the probability 1/1000, counted 1 + 0.3 + 0.3 times.
loss_of_ignorance = 1.6 * math.log(1000)
