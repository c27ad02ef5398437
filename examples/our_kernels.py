"""Run a model on our kernels, and compare with transformers' own code: the same logits, in less time."""

import time

import torch

import perfmamba

model = perfmamba.load("mamba2-130m", layers=1).model.eval()
tokens = torch.randint(0, model.config.vocab_size, (1, 512))


def seconds() -> float:
    """Return the shortest of three passes."""
    passes = []
    for _ in range(3):
        began = time.perf_counter()
        model(tokens, use_cache=False, logits_to_keep=1)
        passes.append(time.perf_counter() - began)
    return min(passes)


with torch.inference_mode():
    for backend in ("hf", "torch"):
        perfmamba.use_backend(model, backend)
        logits = model(tokens, use_cache=False, logits_to_keep=1).logits
        if backend == "hf":
            expected = logits
        print(f"{backend:6} {1e3 * seconds():8.1f} ms")

torch.testing.assert_close(logits, expected, rtol=1e-3, atol=1e-3)
print("the logits agree")
