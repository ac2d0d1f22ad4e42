"""What other libraries call the layers of the zoo's networks: one table per family and library."""

from . import densenet, inception, resnet, vgg, xception
from .table import COUNTER, Table

TABLES: tuple[Table, ...] = (
    *vgg.TABLES, *resnet.TABLES, *densenet.TABLES, *inception.TABLES, *xception.TABLES,
)  # fmt: skip
LIBRARIES = tuple(dict.fromkeys([table.library for table in TABLES]))

__all__ = ["COUNTER", "LIBRARIES", "TABLES", "Table"]
