"""Looking at networks: the summary, receptive fields."""

from .diagram import diagram
from .fields import FieldPair, fields
from .summary import Row, Summary, summary

__all__ = ["FieldPair", "Row", "Summary", "diagram", "fields", "summary"]
