"""Weights in and out, in files that are whole or not there; networks from Caffe's descriptions."""

from .archive import read_archive, write_archive
from .files import replacing
from .prototxt import load_prototxt
from .weights import load_weights, read_weights, save_weights

__all__ = [
    "load_prototxt", "load_weights", "read_archive", "read_weights", "replacing", "save_weights", "write_archive",
]  # fmt: skip
