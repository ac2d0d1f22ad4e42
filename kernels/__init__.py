"""The native kernels: the C sources and their header, the extension modules built from them, and the CUDA sources.

`_c` is compiled for any processor of its architecture; on x86-64 `_c_avx2`, `_c_avx512`, ... hold the same kernels for
newer ones. `minicnn.backends.c` picks one at run time. Installed as the package `minicnn_kernels`.
"""
