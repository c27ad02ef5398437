"""Real Mamba models, small enough to run in milliseconds."""

import torch
from transformers import Mamba2Config, Mamba2ForCausalLM, MambaConfig, MambaForCausalLM

from perfmamba.profiling.runs import cache_argument

VOCABULARY = 40


def cache_of(output):
    """The cache in a model's output, whatever the version of transformers calls it."""
    (cache,) = cache_argument(output).values()
    return cache


def small_mamba1(layers: int = 2) -> MambaForCausalLM:
    config = MambaConfig(vocab_size=VOCABULARY, hidden_size=32, state_size=5, num_hidden_layers=layers)
    torch.manual_seed(1)
    return MambaForCausalLM(config).eval()


def small_mamba2(layers: int = 2) -> Mamba2ForCausalLM:
    config = Mamba2Config(
        vocab_size=VOCABULARY,
        hidden_size=32,
        state_size=6,
        num_hidden_layers=layers,
        head_dim=16,
        num_heads=4,
        n_groups=2,
        chunk_size=8,
        tie_word_embeddings=True,
    )
    torch.manual_seed(1)
    return Mamba2ForCausalLM(config).eval()
