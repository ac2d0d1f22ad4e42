"""Optimisers, gradient clipping and learning-rate schedules."""

from .clip import clip_grad_norm, clip_grad_value
from .optimizer import SGD, Adam, AdamW, Optimizer
from .schedules import (
    Constant,
    Cosine,
    MultiStep,
    OneCycle,
    Polynomial,
    ReduceOnPlateau,
    Schedule,
    Scheduler,
    Step,
    Warmup,
)

__all__ = [
    "SGD", "Adam", "AdamW", "Constant", "Cosine", "MultiStep", "OneCycle", "Optimizer", "Polynomial", "ReduceOnPlateau",
    "Schedule", "Scheduler", "Step", "Warmup", "clip_grad_norm", "clip_grad_value",
]  # fmt: skip
