"""Training: the loop, what it measures, its checkpoints, its pictures; and the job behind `minicnn train`."""

from .checkpoint import environment, read_checkpoint
from .history import History
from .job import Job, run
from .metrics import Evaluation, Mean, evaluate
from .predict import Predictor
from .stopping import EarlyStopping
from .trainer import Trainer

__all__ = [
    "EarlyStopping", "Evaluation", "History", "Job", "Mean", "Predictor", "Trainer", "environment", "evaluate",
    "read_checkpoint", "run",
]  # fmt: skip
