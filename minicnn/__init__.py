"""minicnn: convolutional networks from scratch, with the arithmetic beside every layer."""

from . import layers, models, ops
from .autograd import detect_anomaly, enable_grad, grad, no_grad
from .backends import get_num_threads, set_num_threads, set_precision, use_backend
from .gradcheck import gradcheck
from .inspect import summary
from .layers import use_fusion
from .random import manual_seed
from .tensor import Tensor
from .version import __version__

__all__ = [
    "Tensor", "__version__", "detect_anomaly", "enable_grad", "get_num_threads", "grad", "gradcheck", "layers",
    "manual_seed", "models", "no_grad", "ops", "set_num_threads", "set_precision", "summary", "use_backend",
    "use_fusion",
]  # fmt: skip
