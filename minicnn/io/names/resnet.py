"""ResNet, ResNeXt and wide ResNet. torchvision's and timm's are the same; their strides are on the 3x3 convolutions."""

from __future__ import annotations

from .table import Table

ROWS = {
    "stage{i}.block{j}.body": "layer{i}.{j-1}",
    "stage{i}.block{j}.shortcut.conv": "layer{i}.{j-1}.downsample.0",
    "stage{i}.block{j}.shortcut.bn": "layer{i}.{j-1}.downsample.1",
}
BOTH = {
    "resnet18": "resnet18",
    "resnet34": "resnet34",
    "resnet50_v1.5": "resnet50",
    "resnet101_v1.5": "resnet101",
    "resnet152_v1.5": "resnet152",
    "resnext50_32x4d": "resnext50_32x4d",
    "resnext101_32x8d": "resnext101_32x8d",
    "resnext101_64x4d": "resnext101_64x4d",
    "wide_resnet50_2": "wide_resnet50_2",
}
FAMILY = ("resnet*", "resnext*", "wide_resnet*")

TABLES = (
    Table("torchvision", FAMILY, BOTH, ROWS),
    Table("timm", FAMILY, {**BOTH, "resnext101_32x4d": "resnext101_32x4d"}, ROWS),
)
