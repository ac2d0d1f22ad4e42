"""The history of a run: one row for each epoch, as CSV."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from ..io.files import replacing

COLUMNS = ("epoch", "steps", "lr", "train_loss", "train_accuracy", "test_loss", "test_accuracy")
"""steps: since the start of the run. lr: at the epoch's last step. Accuracies are 0 .. 1. Nothing here depends on the
clock: a run that was interrupted ends with the same file; the times are in times.csv."""


class History:
    """Rows by column. The checkpoint holds them, and the file is rewritten whole, so that the two cannot disagree."""

    def __init__(self, rows: list[dict[str, Any]] | None = None) -> None:
        self.rows = rows or []

    def add(self, **row: Any) -> None:
        """Add an epoch; a column that is left out stays empty."""
        self.rows.append({name: row.get(name) for name in COLUMNS})

    def column(self, name: str) -> list[Any]:
        """A column by its name, one of COLUMNS: a number or None for each epoch. Raises KeyError for another name."""
        return [row[name] for row in self.rows]

    def write(self, path: str | Path) -> None:
        """Write the CSV, whole or not at all. Raises CheckpointError."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([["" if row[name] is None else repr(row[name]) for name in COLUMNS] for row in self.rows])
        with replacing(path) as part:
            part.write_text(text.getvalue(), encoding="ascii")

    @classmethod
    def read(cls, path: str | Path) -> History:
        """The rows of a file that `write` made."""
        with open(path, encoding="ascii", newline="") as file:
            return cls([{k: float(v) if v else None for k, v in row.items()} for row in csv.DictReader(file)])
