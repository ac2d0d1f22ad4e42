"""The zoo: architectures as data, composed from containers, one file per family."""

from . import alexnet, lenet
from .registry import Info, Recipe, create, info, names, options, register

__all__ = ["Info", "Recipe", "alexnet", "create", "info", "lenet", "names", "options", "register"]
