"""Looking at networks: the summary, comparisons, the slides' claims, receptive fields, diagrams and plots."""

from typing import Any

from .compare import Comparison, compare
from .diagram import diagram
from .field_picture import field_picture
from .fields import FieldPair, fields
from .plots import plot_errors, plot_memory, plot_winners
from .plots import save as save_figure
from .summary import Row, Summary, summary
from .svg import Picture

__all__ = [
    "Comparison", "FieldPair", "Picture", "Row", "Summary", "check_slides", "compare", "diagram", "field_picture",
    "fields", "plot_errors", "plot_memory", "plot_winners", "save_figure", "summary",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "check_slides":  # the claims are read when they are wanted, so that `import minicnn` stays quick
        from .slides import check_slides

        return check_slides
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
