"""Datasets as plain arrays, transforms of whole batches, and the loader that brings them to training.

train, test = data.cifar10(), data.cifar10(train=False)
mean, std = train.statistics()
augment = data.Compose([data.RandomCrop(32, padding=4), data.RandomHorizontalFlip(), data.Normalize(mean, std)])
for images, labels in data.Loader(train, 128, augment, seed=1):
    ...
"""

from .cifar import cifar10
from .cifar_100 import cifar100
from .colour import ColorJitterPCA, Normalize, ToFloat, principal_components
from .dataset import Dataset, split
from .draw import Draw
from .files import cache_dir
from .folder import image_folder, read_picture
from .idx import fashion_mnist, mnist, parse_idx
from .loader import Loader
from .sample import cifar10_sample
from .transforms import (
    CenterCrop,
    Compose,
    Cutout,
    FiveCrop,
    RandomCrop,
    RandomHorizontalFlip,
    Resize,
    TenCrop,
)  # fmt: skip

__all__ = [
    "CenterCrop", "ColorJitterPCA", "Compose", "Cutout", "Dataset", "Draw", "FiveCrop", "Loader", "Normalize",
    "RandomCrop", "RandomHorizontalFlip", "Resize", "TenCrop", "ToFloat", "cache_dir", "cifar10", "cifar100",
    "cifar10_sample", "fashion_mnist", "image_folder", "mnist", "parse_idx", "principal_components", "read_picture",
    "split",
]  # fmt: skip
