"""Take half of the states out of a model and save the result: `python examples/prune_and_save.py [FOLDER]`.

The tokens here are random, which is good for trying things out only: calibrate a trained model on its own
kind of text.
"""

import sys
import tempfile

import torch
from transformers import AutoModelForCausalLM

import perfmamba

model = perfmamba.load("mamba2-130m", layers=1).model
perfmamba.use_backend(model, "torch")  # calibration is several times as fast
tokens = torch.randint(0, model.config.vocab_size, (2, 64))

smaller = perfmamba.prune(model, ratio=0.5, calibration=tokens)

with tempfile.TemporaryDirectory() as folder:
    place = sys.argv[1] if len(sys.argv) > 1 else folder
    smaller.save_pretrained(place)
    again = AutoModelForCausalLM.from_pretrained(place)  # a plain checkpoint: it needs nothing of ours

print(f"{model.config.state_size} states, now {again.config.state_size}")
