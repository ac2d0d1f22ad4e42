"""On a real GPU: the tests of the kernels, `c` being the CUDA backend, and of the operations and layers that call them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minicnn import backends
from minicnn.errors import BackendError

try:
    KERNELS = backends.get("cuda")
except BackendError as error:
    pytest.skip(str(error), allow_module_level=True)

from test_cuda_kernels import (  # noqa: F401
    SMALLER,
    WAYS,
    force,
    is_slow,
    test_adaptive_pooling_of_larger_maps,
    test_augment,
    test_averages_of_large_windows,
    test_averages_of_nan_and_infinity,
    test_batch_norm_in_place,
    test_batch_norm_of_nan_and_infinity,
    test_batch_norm_of_nothing,
    test_indices_of_pooling,
    test_labels,
    test_log_softmax,
    test_many_parameters_of_which_some_are_no_plain_arrays,
    test_sums_are_accurate,
    test_sums_over_channels,
)
from test_cuda_networks import (  # noqa: F401
    test_a_run_goes_on_bit_for_bit,
    test_an_optimizer_goes_along_with_its_model,
    test_devices_do_not_mix,
    test_files_know_no_device,
    test_gradients,
    test_gradients_of_a_network,
    test_layers,
    test_nan_is_noticed_a_few_steps_late,
    test_there_and_back,
)
from test_kernels import (  # noqa: F401
    LARGER,
    check_convolution,
    dtype,
    test_adam,
    test_batch_norm,
    test_batch_norm_in_training,
    test_batch_norm_takes_channels_of_a_wider_array,
    test_convolution_agrees_with_its_definition,
    test_cross_entropy,
    test_dropout_draws_the_same_bits,
    test_gradients_of_activations,
    test_linear,
    test_local_response_norm,
    test_matmul,
    test_matmul_broadcasts,
    test_nan_and_infinity_pass_through,
    test_other_dtypes_go_to_the_reference,
    test_pooling,
    test_reductions_are_accurate,
    test_relu,
    test_sgd,
    test_statistics_of_images_far_apart,
    test_strided_and_read_only_arrays,
    test_the_same_bits_again_and_wherever_the_arrays_lie,
)

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def by_rule(monkeypatch):
    monkeypatch.delenv("MINICNN_CUDA_CONV", raising=False)


class Travelling:
    """The CUDA backend, called with NumPy's arrays: they travel there, and back where they were changed."""

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> None:
            there: dict[int, tuple[np.ndarray, Any]] = {}

            def send(value: Any) -> Any:
                if isinstance(value, list):
                    return [*map(send, value)]
                if not isinstance(value, np.ndarray):
                    return value
                if id(value) not in there:
                    there[id(value)] = value, KERNELS.asarray(value)
                return there[id(value)][1]

            getattr(KERNELS, name)(*map(send, args), **{key: send(value) for key, value in kwargs.items()})
            for here, moved in there.values():
                after = moved.get()
                if after.tobytes() != here.tobytes():
                    here[...] = after

        return call


@pytest.fixture
def c():
    return Travelling()


@pytest.mark.parametrize("way, g", [(way, g) for way in WAYS for g in SMALLER if not is_slow(way, g)], ids=str)
def test_each_way_to_convolve(c, way, g, dtype, monkeypatch):  # noqa: F811
    force(monkeypatch, way)
    check_convolution(c, g, dtype)


@pytest.mark.parametrize("g", LARGER, ids=lambda g: f"{g.input_shape}{g.weight_shape}")
def test_larger_convolution(c, g, dtype):  # noqa: F811
    check_convolution(c, g, dtype)
