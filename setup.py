"""Build the native kernels: one extension module for each instruction set, from the same sources and the same header.

`minicnn_kernels._c` runs on any processor of its architecture; on x86-64 `_c_avx2`, `_c_avx512`, ... are the same kernels
compiled for newer ones. minicnn picks one at run time. Each is a shared object of its own that exports nothing but
its initialiser, so code for a higher instruction set cannot leak into another. Without a C compiler, and on Windows
without clang-cl, the install succeeds without them and says so. MINICNN_NO_EXTENSION=1 leaves them out on purpose.
"""

import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

HERE = Path(__file__).resolve().parent
PACKAGE = "minicnn_kernels"
SOURCES = sorted(f"kernels/c/{path.name}" for path in (HERE / "kernels" / "c").glob("*.c"))
HEADERS = ["kernels/minicnn.h", *sorted(f"kernels/c/{path.name}" for path in (HERE / "kernels" / "c").glob("*.h"))]
# -fno-trapping-math only says that nobody reads the floating-point status flags; no option here changes a result's rules.
FLAGS = [
    "-O3",
    "-g0",
    "-std=c11",
    "-fvisibility=hidden",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=fast",
    "-Wno-pass-failed",
]
LEVELS = {
    "_c": [],
    "_c_avx2": ["-march=x86-64-v3"],
    "_c_avx512": (avx512 := ["-march=x86-64-v4", "-mprefer-vector-width=512"]),
    "_c_avx512_bf16": [*avx512, "-mavx512bf16"],
    "_c_amx": [*avx512, "-mavx512bf16", "-mamx-tile", "-mamx-bf16"],
}
LEFT_OUT = """\
minicnn: the C kernels were left out: {reason}
minicnn: it works all the same, several times slower, on the NumPy backend; `minicnn info` says how to get them
"""


def extensions():
    if os.environ.get("MINICNN_NO_EXTENSION", "0") not in ("", "0"):
        print("minicnn: MINICNN_NO_EXTENSION is set: the C kernels are left out", file=sys.stderr)
        return []
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    names = [name for name in LEVELS if x86 or name == "_c"]
    return [Extension(f"{PACKAGE}.{name}", SOURCES, depends=HEADERS, optional=True) for name in names]


class BuildKernels(build_ext):
    """Writes each module's glue, compiles it for its instruction set and goes on where that fails."""

    def build_extension(self, ext):
        name = ext.name.rpartition(".")[2]
        common = self.build_temp
        self.build_temp = os.path.join(common, name)  # the same sources under other options: objects must not meet
        try:
            windows = self.compiler.compiler_type == "msvc"
            if windows:
                use_clang(self.compiler)
            if not hasattr(self, "openmp"):
                # The OpenMP library of clang is no part of Windows: a module that needs it would not load elsewhere.
                self.openmp = not windows and self.works(["-fopenmp"])
                if not self.openmp and self.works([]):
                    print("minicnn: the compiler has no OpenMP: the C kernels will use one thread", file=sys.stderr)
            options = FLAGS + LEVELS[name] + (["-fopenmp"] if self.openmp else ["-fopenmp-simd"])
            if windows:
                ext.extra_compile_args = ["/clang:" + option for option in options]
            else:
                ext.extra_compile_args = [o for o in options if o != "-fopenmp-simd" or self.works([o])]
            ext.extra_link_args = ["-fopenmp"] if self.openmp else []
            ext.libraries = [] if windows else ["m"]
            ext.sources = [*SOURCES, self.write_glue(ext.name)]
            super().build_extension(ext)
        except Exception as error:  # whatever a missing or strange compiler raises
            text = LEFT_OUT if name == "_c" else "minicnn: " + name + " was left out: {reason}\n"
            print(text.format(reason=str(error) or type(error).__name__), file=sys.stderr)
        finally:
            self.build_temp = common
            ext.sources = SOURCES

    def write_glue(self, module):
        from cffi import FFI

        ffi = FFI()
        lines = (HERE / "kernels" / "minicnn.h").read_text().splitlines()
        ffi.cdef("\n".join("" if line.startswith("#") else line for line in lines))
        ffi.set_source(module, '#include "minicnn.h"', include_dirs=["kernels"])
        os.makedirs(self.build_temp, exist_ok=True)
        glue = os.path.join(self.build_temp, module + ".c")
        ffi.emit_c_code(glue)
        return glue

    def works(self, options):
        """Whether a small program compiles and links with these options."""
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "probe.c")
            source.write_text("int probe(void) { return 0; }\n")
            try:
                objects = self.compiler.compile([str(source)], output_dir=folder, extra_postargs=options)
                library = os.path.join(folder, "probe.so")
                self.compiler.link_shared_object(objects, library, extra_postargs=options)
            except Exception:
                return False
        return True


def use_clang(compiler):
    """Let clang's stand-in for MSVC's compiler compile: MSVC itself lacks the vector types. MSVC's linker stays."""
    folders = os.pathsep.join([os.environ.get("PATH", ""), r"C:\Program Files\LLVM\bin"])
    clang = shutil.which("clang-cl", path=folders)
    if not clang:
        raise RuntimeError("the compiler of Windows (MSVC) has no vector types, and clang-cl was not found")
    if not compiler.initialized:
        compiler.initialize()
    compiler.cc = clang


for extension in (modules := extensions()):
    extension.include_dirs = ["kernels"]
setup(
    packages=[*find_packages(include=["minicnn", "minicnn.*"]), PACKAGE],
    package_dir={PACKAGE: "kernels"},
    ext_modules=modules,
    cmdclass={"build_ext": BuildKernels},
)
