"""What every training command does besides training: options, a check of the folder, and how it ends."""

from collections.abc import Callable
from pathlib import Path

import torch

from perfmamba.errors import InputError
from perfmamba.terminal import exit_codes


def training_command(run: Callable[[], None], *, out: Path, threads: int) -> None:
    """Run a training into a folder that is new or empty, and exit as a command should.

    The exit code is 130 after Ctrl-C, which keeps the last checkpoint, and 2 after an error.

    Args:
        run: trains, and writes checkpoints to `out` as they come.
        out: the folder.
        threads: CPU threads for torch.
    """

    def interrupted() -> str:
        kept = (out / "model.safetensors").exists()
        return f"interrupted; {f'the last checkpoint is in {out}' if kept else 'nothing is kept'}"

    with exit_codes("training", on_interrupt=interrupted):
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise InputError(f"--out {out}: something is there already; name another folder")
        torch.set_num_threads(threads)
        run()
