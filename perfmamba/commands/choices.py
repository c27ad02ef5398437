"""What the options of several commands can be, spelled out so that `--help` needs neither torch nor a model.

Each is what a module of the package offers; a test holds them to it.
"""

from typing import Literal

Backend = Literal["hf", "mamba_ssm", "reference", "torch", "triton"]
Score = Literal["paper", "delta_b", "energy", "output", "magnitude", "random"]
Bridge = Literal["none", "lstsq", "balanced"]
Mode = Literal["prefill", "decode"]
