"""DenseNet. torchvision's and timm's are the same; older files have a dot before the numbers inside a layer."""

from __future__ import annotations

from .table import Table

ROWS = {
    "conv1": "features.conv0",
    "bn1": "features.norm0",
    "block{i}.layer{j}.new.bn{k}": "features.denseblock{i}.denselayer{j}.norm{k}",
    "block{i}.layer{j}.new.conv{k}": "features.denseblock{i}.denselayer{j}.conv{k}",
    "transition{i}.bn": "features.transition{i}.norm",
    "transition{i}.conv": "features.transition{i}.conv",
    "bn": "features.norm5",
    "fc": "classifier",
}
PUBLISHED = {f"densenet{depth}": f"densenet{depth}" for depth in (121, 161, 169, 201)}
OLD = ((r"(\.denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2."),)

TABLES = tuple([
    Table(library, ("densenet*",), PUBLISHED, ROWS, old=OLD)
    for library in ("torchvision", "timm")
])  # fmt: skip
