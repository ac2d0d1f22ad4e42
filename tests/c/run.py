"""Build the C driver of all kernels and run it: with every instruction set, under the sanitizers, and for arm64.

    python tests/c/run.py [NAME ...]      all of them, or those whose names begin so

plain    with the flags of setup.py; arrays lie against pages that cannot be touched
asan     the address and undefined-behaviour sanitizers
tsan     the thread sanitizer: clang, whose OpenMP tells it through Archer what waits for what (gcc's does not)
neon     plain, cross-compiled for arm64 and emulated

Each has to catch mistakes that the driver makes on purpose: a tool that catches nothing proves nothing. Every kernel of
minicnn.h must have been called. What cannot run here is named with its reason.
"""

from __future__ import annotations

import ast
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from minicnn.backends import native

ROOT = Path(__file__).resolve().parents[2]
KERNELS = ROOT / "kernels"
SOURCES = sorted([*KERNELS.glob("c/*.c"), *ROOT.glob("tests/c/*.c")])
STRICT = [
    "-D_GNU_SOURCE",
    "-g1",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wno-unused-parameter",
    "-Wno-psabi",
    "-Wno-pass-failed",
]
QUIET_WAIT = {"OMP_WAIT_POLICY": "passive", "KMP_BLOCKTIME": "0"}  # three threads on two cores should not spin

# Division by zero is left to IEEE 754: the mean of nothing is NaN.
ADDRESS = [
    "-fsanitize=address,undefined,float-cast-overflow",
    "-fno-sanitize-recover=all",
    "-fno-omit-frame-pointer",
]
THREAD = ["-fsanitize=thread"]
EAGER = ["-DMINICNN_EAGER_THREADS"]
# The least that is quick to compile and run: with -O1 clang 14 gets sums wrong in parallel loops of vectors.
FAST = {"gcc": ["-O1"], "clang": ["-O2"]}

SEEN_BY_PAGES = {"read": "signal 11", "write": "signal 11", "unwritten": "not the same bits"}
SEEN_BY_ADDRESS = {
    "read": "heap-buffer-overflow",
    "write": "heap-buffer-overflow",
    "overflow": "signed integer overflow",
}
SEEN_BY_THREAD = {"race": "data race"}


@dataclass
class Job:
    """One way to build the driver, the mistakes that must be noticed and by what words, and what every good run prints."""

    name: str
    compiler: str
    flags: list[str]
    mistakes: dict[str, str]
    arguments: tuple[str, ...] = ("",)
    emulator: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    must_print: str = ""


def of_setup(name: str):
    """A constant of setup.py, which does more than to define it."""
    values: dict = {}
    for statement in ast.parse((ROOT / "setup.py").read_text()).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == name:
            exec(compile(ast.Module([statement], []), "setup.py", "exec"), values)
    return values[name]


def jobs() -> list[Job]:
    shipped = [flag for flag in of_setup("FLAGS") if flag != "-g0"] + ["-fopenmp"]
    rules = [flag for flag in shipped if not flag.startswith("-O")]
    levels = {level: of_setup("LEVELS")[native.LEVELS[level]] for level in native.usable()}
    made = []
    for level, flags in levels.items():
        made.append(Job(f"plain-gcc-{level}", "gcc", shipped + flags, SEEN_BY_PAGES))
        made.append(Job(f"asan-gcc-{level}", "gcc", rules + flags + ADDRESS + EAGER + FAST["gcc"], SEEN_BY_ADDRESS))
    emulated = [*rules, "-DMINICNN_EMULATE_AMX", *ADDRESS, *EAGER, *FAST["gcc"]]
    made.append(Job("asan-gcc-amx-emulated", "gcc", emulated, SEEN_BY_ADDRESS))
    best, flags = list(levels.items())[-1]
    made.append(Job(f"asan-clang-{best}", "clang", rules + flags + ADDRESS + EAGER + FAST["clang"], SEEN_BY_ADDRESS))
    thread = {
        "OMP_TOOL_LIBRARIES": archer(),
        "ARCHER_OPTIONS": "verbose=1",
        "TSAN_OPTIONS": "ignore_noninstrumented_modules=1",
    }
    # The sanitizer of threads sees no access that is wider than 16 bytes: those of the lowest level are not.
    lowest, flags = list(levels.items())[0]
    at_fixed_addresses = ["setarch", "-R"] if shutil.which("setarch") else []  # or its shadow memory may find no place
    made.append(
        Job(
            f"tsan-clang-{lowest}",
            "clang",
            rules + flags + THREAD + EAGER + FAST["clang"],
            SEEN_BY_THREAD,
            arguments=("concurrent",),
            emulator=at_fixed_addresses,
            environment=thread,
            must_print="Archer detected OpenMP application with TSan",
        )
    )
    if platform.machine() != "aarch64":
        made.append(
            Job("neon-gcc", "aarch64-linux-gnu-gcc", [*shipped, "-static"], SEEN_BY_PAGES, emulator=["qemu-aarch64"])
        )
    return made


def archer() -> str:
    """Where clang keeps the library, or nothing."""
    if not shutil.which("clang"):
        return ""
    _, text = call(["clang", "-print-resource-dir"])
    path = Path(text.strip()).parents[1] / "libarcher.so"
    return str(path) if path.exists() else ""


def why_not(job: Job) -> str:
    """What is missing for a job, or nothing."""
    if "-DMINICNN_EMULATE_AMX" in job.flags and not (ROOT / "tests" / "amx_emulation.h").exists():
        return "there is no tests/amx_emulation.h"
    for program in (job.compiler, *job.emulator[:1]):
        if not shutil.which(program):
            return f"{program} is not installed"
    if "-fsanitize=thread" in job.flags and not job.environment["OMP_TOOL_LIBRARIES"]:
        return "libarcher.so, which tells the sanitizer what OpenMP does, is not installed"
    return ""


def call(command: list[str], environment: dict[str, str] | None = None) -> tuple[int, str]:
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600,
        env={**os.environ, **QUIET_WAIT, **(environment or {})},
    )  # fmt: skip
    return done.returncode, done.stdout + (f"\nsignal {-done.returncode}" if done.returncode < 0 else "")


def compile_one(job: Job, source: Path, folder: Path) -> str:
    include = [f"-I{KERNELS}", f"-I{KERNELS / 'c'}", f"-I{source.parent}", f"-I{ROOT / 'tests'}"]
    target = str(folder / (source.stem + ".o"))
    flags = job.flags
    if source.name.startswith("check_"):
        # The naive loops need no watching, and gcc 12 for arm64 breaks down over one that it vectorises.
        flags = [flag for flag in flags if not flag.startswith(("-fsanitize", "-O"))] + ["-O2", "-fno-tree-vectorize"]
    code, text = call([job.compiler, *flags, *STRICT, *include, "-c", str(source), "-o", target])
    return f"{source.name} does not compile:\n{text}" if code else ""


def link(job: Job, folder: Path) -> str:
    objects = [str(folder / (source.stem + ".o")) for source in SOURCES]
    code, text = call([job.compiler, *job.flags, *objects, "-o", str(folder / "driver"), "-lm", "-lpthread"])
    return f"does not link:\n{text}" if code else ""


def kernels_of_header() -> set[str]:
    return set(re.findall(r"^[a-z][\w ]*?\W\*?(\w+)\(", (KERNELS / "minicnn.h").read_text(), re.MULTILINE))


def run(job: Job, folder: Path, argument: str) -> str:
    """What is wrong with a run of the driver, or nothing."""
    command = [*job.emulator, str(folder / "driver"), *([argument] if argument else [])]
    code, text = call(command, job.environment)
    if argument in job.mistakes:
        expected = job.mistakes[argument]
        return "" if code and expected in text else f"does not notice {argument}: rc {code}, no {expected!r} in\n{text}"
    if code or "\n0 failures" not in text:
        return f"rc {code}\n{text[-6000:]}"
    if job.must_print not in text:
        return f"no {job.must_print!r} in\n{text[:2000]}"
    missing = {name for name in kernels_of_header() if not name.startswith("minicnn_")} - set(
        re.findall(r"^called (\w+)", text, re.MULTILINE)
    )
    return f"not called: {sorted(missing)}" if missing else ""


def main(wanted: list[str]) -> int:
    began, passed, failed, skipped = time.monotonic(), 0, 0, 0
    chosen = [job for job in jobs() if not wanted or job.name.startswith(tuple(wanted))]
    with tempfile.TemporaryDirectory() as work, ThreadPoolExecutor(os.cpu_count()) as pool:
        ready = []
        for job in chosen:
            if reason := why_not(job):
                skipped += 1
                print(f"skipped {job.name}: {reason}")
                continue
            (folder := Path(work, job.name)).mkdir()
            ready.append((job, folder, [pool.submit(compile_one, job, source, folder) for source in SOURCES]))
        for job, folder, compiled in ready:
            wrong = [text for text in [future.result() for future in compiled] if text][:1]
            wrong = wrong or [text for text in [link(job, folder)] if text]
            if not wrong:
                runs = [pool.submit(run, job, folder, a) for a in (*job.arguments, *job.mistakes)]
                wrong = [text for text in [future.result() for future in runs] if text]
            failed, passed = failed + bool(wrong), passed + (not wrong)
            print(f"{'FAILED' if wrong else 'passed'} {job.name} ({time.monotonic() - began:.0f} s so far)", flush=True)
            print("\n".join(wrong), end="\n" if wrong else "", flush=True)
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
