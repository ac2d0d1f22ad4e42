"""Looking at networks: the summary, comparisons, the slides' claims, receptive fields, diagrams and plots."""

import importlib
from typing import TYPE_CHECKING, Any

from .fields import FieldPair, fields
from .summary import Row, Summary, summary

if TYPE_CHECKING:
    from .comparison import Comparison, compare
    from .diagrams import diagram
    from .field_pictures import field_picture
    from .plots import plot_errors, plot_memory, plot_winners, save_figure
    from .slides import check_slides
    from .svg import Picture

_LAZY = {
    "Comparison": "comparison", "compare": "comparison", "diagram": "diagrams", "field_picture": "field_pictures",
    "plot_errors": "plots", "plot_memory": "plots", "plot_winners": "plots", "save_figure": "plots",
    "check_slides": "slides", "Picture": "svg",
}  # fmt: skip
"""Names whose module is imported when they are first used, so that `import minicnn` stays quick."""

__all__ = [
    "Comparison", "FieldPair", "Picture", "Row", "Summary", "check_slides", "compare", "diagram", "field_picture",
    "fields", "plot_errors", "plot_memory", "plot_winners", "save_figure", "summary",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        value = getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
