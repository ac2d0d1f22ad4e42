"""The whole benchmark, as `minicnn bench --full`: `python benchmarks/run.py --help` names the options."""

import sys

from minicnn.cli import app

sys.argv[1:1] = ["bench", "--full"]
app()
