"""Triton kernels: compiled on a CUDA device, or run in Triton's interpreter on CPU tensors.

Each module holds the kernels of one operation, a plain function that turns the operation's arguments into a
`launching.Launch`, and `compile_cases()`, which lists every configuration for `compiling`. Importing them
needs Triton but no device.
"""
