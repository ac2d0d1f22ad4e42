"""What only a process of its own shows: the peak of memory, and page faults once a loop runs steadily.

python -m minicnn.bench.alone resnet18 minicnn 16 train highest
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

WARM, STEADY = 2, 2
"""Steps before a loop is steady, and steps in which faults are counted."""


def measure(name: str, who: str, batch: int, what: str, precision: str) -> dict[str, Any]:
    """MiB at the peak and page faults per step of a contestant that trains or infers; nan where the system does not say, or where
    the process ended early."""
    line = [sys.executable, "-m", __name__, name, who, str(batch), what, precision]
    # In a session of its own Ctrl-C does not reach it: it ends with its parent, without a traceback.
    done = subprocess.run(line, stdout=subprocess.PIPE, text=True, start_new_session=True)
    return {"memory": math.nan, "faults": math.nan} if done.returncode else json.loads(done.stdout.splitlines()[-1])


def high_water() -> float:
    """MiB that this process held at most. (ru_maxrss would count the parent's, which a child inherits.)"""
    status = Path("/proc/self/status")
    for line in status.read_text().splitlines() if status.exists() else []:
        if line.startswith("VmHWM:"):
            return float(line.split()[1]) / 1024
    return math.nan


def faults() -> float:
    """Pages that this process had to be given until now."""
    try:
        import resource
    except ImportError:  # Windows
        return math.nan
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)


def main(name: str, who: str, batch: str, what: str, precision: str) -> None:
    from .. import backends
    from . import steps

    step = getattr(steps.make(name, who, int(batch)), what)
    with backends.use_precision(precision):
        for _ in range(WARM):
            step()
        before = faults()
        for _ in range(STEADY):
            step()
    print(json.dumps({"memory": high_water(), "faults": (faults() - before) / STEADY}))


if __name__ == "__main__":
    main(*sys.argv[1:])
