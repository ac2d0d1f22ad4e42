"""Solutions of 10_transfer.ipynb: what fills its exercise cells."""

import math

# 1. Both networks now hold one and the same layer, and state_dict shares memory with its network: to keep a state, copy it.
weight_of_the_base, weight_in_the_state = "changed", "changed"

# 2. The running statistics follow the batches whether or not anything is learnt; without freeze() they do so here too.
changed_in_layer_1 = ["bn1.running_mean", "bn1.running_var"]


# 3. All layers forward; the weights' gradients of those that learn; the inputs' gradients of those above the lowest of them.
def step_work(macs, n):
    return sum(macs) + sum(macs[n:]) + sum(macs[n + 1 :])


# 4. The variances of the two means add up.
def unpaired_error(one, other):
    return math.sqrt((one.var(ddof=1) + other.var(ddof=1)) / len(one))


# 5. How far above guessing it is, by how far the base is.
def kept_share(accuracy, base, guess):
    return (accuracy - guess) / (base - guess)
