"""Profile a model object: what a prefill costs, component by component.

Any model of transformers with Mamba layers will do; here a small one with random weights.
"""

import torch

import perfmamba

model = perfmamba.load("mamba2-130m", layers=1).model
tokens = torch.randint(0, model.config.vocab_size, (1, 64))

profile = perfmamba.profile(model, tokens, repeat=2, warmup=1)
print(profile)
print(f"{profile.median_ms:.1f} ms a pass")
