"""`python -m perfmamba_kernels.compile_table [module ...]`: every Triton kernel, compiled without a GPU.

Prints what each takes of an A100 and of an H100, in all configurations it can have, of all modules of
`triton_backend` or of those named. Exit code 1 if any does not fit, 2 if none can be compiled.
"""

import sys
from importlib import import_module
from importlib.util import find_spec


def main(*modules: str) -> int:
    """Print the table if Triton is there, else what to install."""
    if find_spec("triton") is None:
        print("The package triton is needed: pip install 'perfmamba[triton]'", file=sys.stderr)
        return 2
    return int(import_module("perfmamba_kernels.triton_backend.compile_table").main(*modules))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
