"""What the goldens hold: operations, the shapes of their inputs and their arguments, named as PyTorch names them.

Inputs are drawn by rule, so that only results are stored: see `inputs`.
"""

from __future__ import annotations

import zlib

import numpy as np

CASES = {
    "conv2d plain": ("conv2d", [(2, 3, 7, 6), (4, 3, 3, 3), (4,)], {}),
    "conv2d stride padding": ("conv2d", [(2, 3, 9, 8), (5, 3, 3, 2), (5,)], {"stride": (2, 3), "padding": (1, 2)}),
    "conv2d dilation": ("conv2d", [(1, 2, 11, 9), (3, 2, 3, 3)], {"dilation": (2, 3), "padding": 2}),
    "conv2d groups": ("conv2d", [(3, 6, 5, 5), (4, 3, 3, 3), (4,)], {"groups": 2, "padding": 1}),
    "conv2d depthwise": ("conv2d", [(2, 5, 6, 7), (10, 1, 3, 3), (10,)], {"groups": 5, "stride": 2, "padding": 1}),
    "conv2d 1x1": ("conv2d", [(2, 17, 5, 5), (33, 17, 1, 1), (33,)], {}),
    "conv2d alexnet": ("conv2d", [(1, 3, 35, 35), (9, 3, 11, 11), (9,)], {"stride": 4}),
    "conv2d whole map": ("conv2d", [(2, 4, 5, 5), (6, 4, 5, 5), (6,)], {}),
    "conv2d stride over window": ("conv2d", [(1, 2, 9, 9), (3, 2, 2, 2)], {"stride": 4}),
    "conv2d tiles": ("conv2d", [(2, 19, 13, 11), (37, 19, 3, 3), (37,)], {"padding": 1}),
    "conv_transpose2d": (
        "conv_transpose2d", [(2, 4, 3, 5), (4, 3, 3, 2), (3,)],
        {"stride": (2, 3), "padding": (1, 0), "output_padding": (1, 2)},
    ),
    "conv_transpose2d groups": ("conv_transpose2d", [(1, 4, 4, 4), (4, 3, 3, 3)], {"groups": 2, "dilation": 2}),
    "max_pool2d": ("max_pool2d", [(2, 3, 7, 8)], {"kernel_size": 3, "stride": 2}),
    "max_pool2d padded": ("max_pool2d", [(2, 3, 8, 9)], {"kernel_size": 3, "stride": 2, "padding": 1}),
    "max_pool2d ceil": ("max_pool2d", [(1, 2, 6, 7)], {"kernel_size": (3, 2), "stride": 2, "ceil_mode": True}),
    "max_pool2d ceil padded": ("max_pool2d", [(1, 2, 7, 7)], {"kernel_size": 2, "stride": 3, "padding": 1, "ceil_mode": True}),
    "avg_pool2d": ("avg_pool2d", [(2, 3, 7, 8)], {"kernel_size": 3, "stride": 2}),
    "avg_pool2d padded": ("avg_pool2d", [(2, 2, 7, 8)], {"kernel_size": 3, "stride": 2, "padding": 1}),
    "avg_pool2d ceil": ("avg_pool2d", [(1, 2, 6, 7)], {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}),
    "avg_pool2d inside": (
        "avg_pool2d", [(1, 2, 6, 7)],
        {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True, "count_include_pad": False},
    ),
    "adaptive_avg_pool2d": ("adaptive_avg_pool2d", [(2, 3, 7, 5)], {"output_size": (3, 2)}),
    "local_response_norm": ("local_response_norm", [(2, 7, 4, 3)], {"size": 5, "alpha": 0.5, "beta": 0.75, "k": 2.0}),
    "local_response_norm even": ("local_response_norm", [(2, 7, 4, 3)], {"size": 4, "alpha": 0.3, "beta": 0.5, "k": 1.0}),
    "relu": ("relu", [(5, 7)], {}),
    "sigmoid": ("sigmoid", [(5, 7)], {}),
    "tanh": ("tanh", [(5, 7)], {}),
    "log_softmax": ("log_softmax", [(5, 7)], {}),
    "softmax": ("softmax", [(5, 7)], {}),
    "linear": ("linear", [(5, 19), (33, 19), (33,)], {}),
    "matmul": ("matmul", [(2, 1, 5, 7), (3, 7, 4)], {}),
    "cross_entropy": ("cross_entropy", [(6, 5)], {"labels": [0, 4, 2, 2, 1, 3]}),
    "cross_entropy smoothed": ("cross_entropy", [(6, 5)], {"labels": [0, 4, 2, 2, 1, 3], "label_smoothing": 0.1}),
    "cross_entropy weighted": (
        "cross_entropy", [(6, 5)],
        {"labels": [0, 4, -7, 2, 1, 3], "weight": [1.0, 2.0, 0.5, 3.0, 0.25], "ignore_index": -7, "label_smoothing": 0.2},
    ),
    "cross_entropy sum": ("cross_entropy", [(4, 3)], {"labels": [0, -100, 2, 1], "reduction": "sum"}),
    "cross_entropy maps": (
        "cross_entropy", [(2, 3, 2, 2)], {"labels": [[[0, 1], [2, 2]], [[1, 1], [0, 2]]], "reduction": "none"},
    ),
    "batch_norm": ("batch_norm", [(4, 3, 5, 2), (3,), (3,)], {"training": True}),
    "batch_norm vectors": ("batch_norm", [(8, 3), (3,), (3,)], {"training": True, "eps": 1e-3}),
    "batch_norm evaluating": ("batch_norm", [(4, 3, 5, 2), (3,), (3,)], {"training": False}),
}  # fmt: skip


def inputs(name: str) -> list[np.ndarray]:
    """The inputs of a case, and last the gradient's seed: float32 numbers in -1 .. 1, from Philox keyed by the name."""
    draw = np.random.Generator(np.random.Philox(key=zlib.crc32(name.encode())))
    return [(draw.random(shape) * 2 - 1).astype(np.float32).astype(np.float64) for shape in CASES[name][1]]
