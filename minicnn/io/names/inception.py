"""GoogLeNet, Inception-v3, Inception-v4 and Inception-ResNet-v2.

torchvision's pretrained GoogLeNet and Inception-v3 expect images scaled to -1 .. 1 (x/127.5 - 1), as they came from TensorFlow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .table import Table


def rows(modules: Mapping[str, tuple[str, Mapping[str, str]]]) -> dict[str, str]:
    """{our module: (theirs, {our branch: theirs})} as rows."""
    return {
        f"{ours}.{branch}": f"{theirs}.{their_branch}"
        for ours, (theirs, branches) in modules.items()
        for branch, their_branch in branches.items()
    }


def chain(ours: str, steps: Sequence[str], theirs: str) -> dict[str, str]:
    """The convolutions of a branch of ours; they count theirs: from 1 behind an underscore, else from 0 behind a dot."""
    first = 1 if theirs.endswith("_") else 0
    return {f"{ours}.{step}": f"{theirs}{number}" for number, step in enumerate(steps, first)}


# GoogLeNet

GOOGLENET = {
    "conv2_reduce": "conv2",
    "conv2": "conv3",
    **rows({
        "inception{m}": ("inception{m}", {
            "1x1": "branch1",
            **chain("3x3", ("1x1", "3x3"), "branch2."),
            **chain("5x5", ("1x1", "3x3"), "branch3."),
            "pool.1x1": "branch4.1",
        }),
    }),
}  # fmt: skip

# Inception-v3: theirs are called by their resolution (5, 6, 7) and a letter.

V3_A = {
    "1x1": "branch1x1",
    **chain("5x5", ("1x1", "5x5"), "branch5x5_"),
    **chain("3x3dbl", ("1x1", "3x3", "3x3_2"), "branch3x3dbl_"),
    "pool.1x1": "branch_pool",
}
V3_B = {
    "1x1": "branch1x1",
    **chain("7x7", ("1x1", "1x7", "7x1"), "branch7x7_"),
    **chain("7x7dbl", ("1x1", "7x1", "1x7", "7x1_2", "1x7_2"), "branch7x7dbl_"),
    "pool.1x1": "branch_pool",
}
V3_C = {
    "1x1": "branch1x1",
    "3x3.1x1": "branch3x3_1", "3x3.fork.1x3": "branch3x3_2a", "3x3.fork.3x1": "branch3x3_2b",
    "3x3dbl.1x1": "branch3x3dbl_1", "3x3dbl.3x3": "branch3x3dbl_2",
    "3x3dbl.fork.1x3": "branch3x3dbl_3a", "3x3dbl.fork.3x1": "branch3x3dbl_3b",
    "pool.1x1": "branch_pool",
}  # fmt: skip
V3_REDUCTION_A = {"3x3": "branch3x3", **chain("3x3dbl", ("1x1", "3x3", "3x3_2"), "branch3x3dbl_")}
V3_REDUCTION_B = {
    **chain("3x3", ("1x1", "3x3"), "branch3x3_"),
    **chain("7x7", ("1x1", "1x7", "7x1", "3x3"), "branch7x7x3_"),
}
INCEPTION_V3 = {
    "conv1": "Conv2d_1a_3x3", "conv2": "Conv2d_2a_3x3", "conv3": "Conv2d_2b_3x3",
    "conv4": "Conv2d_3b_1x1", "conv5": "Conv2d_4a_3x3",
    **rows({
        "inception_a1": ("Mixed_5b", V3_A), "inception_a2": ("Mixed_5c", V3_A), "inception_a3": ("Mixed_5d", V3_A),
        "reduction_a": ("Mixed_6a", V3_REDUCTION_A),
        "inception_b1": ("Mixed_6b", V3_B), "inception_b2": ("Mixed_6c", V3_B),
        "inception_b3": ("Mixed_6d", V3_B), "inception_b4": ("Mixed_6e", V3_B),
        "reduction_b": ("Mixed_7a", V3_REDUCTION_B),
        "inception_c1": ("Mixed_7b", V3_C), "inception_c2": ("Mixed_7c", V3_C),
    }),
    "aux.conv1": "AuxLogits.conv0", "aux.conv2": "AuxLogits.conv1", "aux": "AuxLogits",
}  # fmt: skip

# Inception-v4: theirs are counted through.

V4_A = {
    "1x1": "branch0",
    **chain("3x3", ("1x1", "3x3"), "branch1."),
    **chain("3x3dbl", ("1x1", "3x3", "3x3_2"), "branch2."),
    "pool.1x1": "branch3.1",
}
V4_B = {
    "1x1": "branch0",
    **chain("7x7", ("1x1", "1x7", "7x1"), "branch1."),
    **chain("7x7dbl", ("1x1", "7x1", "1x7", "7x1_2", "1x7_2"), "branch2."),
    "pool.1x1": "branch3.1",
}
V4_C = {
    "1x1": "branch0",
    "3x3.1x1": "branch1_0", "3x3.fork.1x3": "branch1_1a", "3x3.fork.3x1": "branch1_1b",
    "3x3dbl.1x1": "branch2_0", "3x3dbl.3x1": "branch2_1", "3x3dbl.1x3": "branch2_2",
    "3x3dbl.fork.1x3": "branch2_3a", "3x3dbl.fork.3x1": "branch2_3b",
    "pool.1x1": "branch3.1",
}  # fmt: skip
V4_STEM = {**chain("3x3", ("1x1", "3x3"), "branch0."), **chain("7x7", ("1x1", "1x7", "7x1", "3x3"), "branch1.")}
REDUCTION_A = {"3x3": "branch0", **chain("3x3dbl", ("1x1", "3x3", "3x3_2"), "branch1.")}
INCEPTION_V4 = {
    "conv1": "features.0", "conv2": "features.1", "conv3": "features.2",
    "stem1.3x3": "features.3.conv", "stem3.3x3": "features.5.conv",
    **rows({
        "stem2": ("features.4", V4_STEM),
        "inception_a{i}": ("features.{i+5}", V4_A),
        "reduction_a": ("features.10", REDUCTION_A),
        "inception_b{i}": ("features.{i+10}", V4_B),
        "reduction_b": ("features.18", V4_STEM),
        "inception_c{i}": ("features.{i+18}", V4_C),
    }),
    "fc": "last_linear",
}  # fmt: skip

# Inception-ResNet-v2

V2_A = {
    "1x1": "branch0",
    **chain("3x3", ("1x1", "3x3"), "branch1."),
    **chain("3x3dbl", ("1x1", "3x3", "3x3_2"), "branch2."),
}
V2_B = {"1x1": "branch0", **chain("7x7", ("1x1", "1x7", "7x1"), "branch1.")}
V2_C = {"1x1": "branch0", **chain("3x3", ("1x1", "1x3", "3x1"), "branch1.")}
V2_STEM = {
    "1x1": "branch0",
    **chain("5x5", ("1x1", "5x5"), "branch1."),
    **chain("3x3dbl", ("1x1", "3x3", "3x3_2"), "branch2."),
    "pool.1x1": "branch3.1",
}
V2_REDUCTION_B = {
    **chain("3x3_1", ("1x1", "3x3"), "branch0."),
    **chain("3x3_2", ("1x1", "3x3"), "branch1."),
    **chain("3x3dbl", ("1x1", "3x3", "3x3_2"), "branch2."),
}


def block(ours: str, theirs: str, branches: Mapping[str, str]) -> dict[str, str]:
    """A residual module."""
    inside = {f"body.branches.{branch}": their_branch for branch, their_branch in branches.items()}
    return rows({ours: (theirs, {**inside, "body.linear": "conv2d"})})


INCEPTION_RESNET_V2 = {
    "conv1": "conv2d_1a", "conv2": "conv2d_2a", "conv3": "conv2d_2b", "conv4": "conv2d_3b", "conv5": "conv2d_4a",
    **rows({"stem": ("mixed_5b", V2_STEM)}),
    **block("inception_a{i}", "repeat.{i-1}", V2_A),
    **rows({"reduction_a": ("mixed_6a", REDUCTION_A)}),
    **block("inception_b{i}", "repeat_1.{i-1}", V2_B),
    **rows({"reduction_b": ("mixed_7a", V2_REDUCTION_B)}),
    **block("inception_c10", "block8", V2_C),  # the last one, which is linear
    **block("inception_c{i}", "repeat_2.{i-1}", V2_C),
    "conv_last": "conv2d_7b",
    "fc": "classif",
}  # fmt: skip

V3 = {"inception_v3_aux": "inception_v3", "inception_v3": "inception_v3"}

TABLES = (
    Table(
        "torchvision", ("googlenet*",), {"googlenet_torchvision_aux": "googlenet", "googlenet_torchvision": "googlenet"},
        GOOGLENET, classifiers=("fc", "aux1.fc2", "aux2.fc2"), training_only=("aux1.", "aux2."),
    ),
    *[
        Table(
            library, ("inception_v3*",), V3, INCEPTION_V3, classifiers=("fc", "aux.fc"), training_only=("AuxLogits.",)
        )
        for library in ("torchvision", "timm")
    ],
    Table("timm", ("inception_v4",), {"inception_v4": "inception_v4"}, INCEPTION_V4),
    Table(
        "timm", ("inception_resnet_v2_slim",), {"inception_resnet_v2_slim": "inception_resnet_v2"}, INCEPTION_RESNET_V2
    ),
)  # fmt: skip
