"""Weights in and out, in files that are whole or not there."""

from .archive import read_archive, write_archive
from .files import replacing
from .weights import load_weights, read_weights, save_weights

__all__ = ["load_weights", "read_archive", "read_weights", "replacing", "save_weights", "write_archive"]
