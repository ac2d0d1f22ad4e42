"""Make ops.npz with PyTorch, in float64: `python tests/goldens/make.py`. Tests read the file and need no PyTorch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from cases import CASES, inputs
from torch.nn import functional


def result(name: str) -> dict[str, np.ndarray]:
    op, _, arguments = CASES[name]
    arguments = dict(arguments)
    tensors = [torch.tensor(array, requires_grad=True) for array in inputs(name)]
    extra = {}
    if op == "cross_entropy":
        labels = torch.tensor(arguments.pop("labels"))
        if "weight" in arguments:
            arguments["weight"] = torch.tensor(arguments["weight"], dtype=torch.float64)
        y = functional.cross_entropy(tensors[0], labels, **arguments)
    elif op == "batch_norm":
        x, scale, shift = tensors
        mean, var = torch.full((3,), 0.25, dtype=torch.float64), torch.full((3,), 2.0, dtype=torch.float64)
        y = functional.batch_norm(x, mean, var, scale, shift, **arguments)
        extra = {"running_mean": mean.numpy(), "running_var": var.numpy()}
    elif op in ("softmax", "log_softmax"):
        y = getattr(functional, op)(tensors[0], -1)
    else:
        y = (torch.matmul if op == "matmul" else getattr(functional, op))(*tensors, **arguments)
    seed = torch.cos(torch.arange(y.numel(), dtype=torch.float64)).reshape(y.shape)
    gradients = torch.autograd.grad(y, tensors, seed)
    return {"y": y.detach().numpy(), **{f"d{i}": g.numpy() for i, g in enumerate(gradients)}, **extra}


if __name__ == "__main__":
    arrays = {f"{name}/{part}": array for name in CASES for part, array in result(name).items()}
    np.savez_compressed(Path(__file__).with_name("ops.npz"), **arrays)
    print(f"{len(arrays)} arrays, made with PyTorch {torch.__version__}")
