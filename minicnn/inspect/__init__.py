"""Looking at networks: the summary, receptive fields, diagrams and plots."""

from .diagram import diagram
from .field_picture import field_picture
from .fields import FieldPair, fields
from .plots import plot_errors, plot_memory, plot_winners
from .plots import save as save_figure
from .summary import Row, Summary, summary
from .svg import Picture

__all__ = [
    "FieldPair", "Picture", "Row", "Summary", "diagram", "field_picture", "fields", "plot_errors", "plot_memory",
    "plot_winners", "save_figure", "summary",
]  # fmt: skip
