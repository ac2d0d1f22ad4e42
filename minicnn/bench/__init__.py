"""The benchmark: the machine's limits, products, convolutions and whole steps, beside NumPy and PyTorch (`minicnn bench`)."""
