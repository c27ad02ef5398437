"""What must be set before anything is imported, here and in the processes that tests start."""

import os

# Two threads that wait for each other spin: beside other work, small tensors take many times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

# Triton reads it when a kernel is decorated, its own library's functions as soon as it is imported.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")
