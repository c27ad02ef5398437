"""Small models with no weight at a special value, selections at random, and what pruning should compute."""

import sys

import perfmamba_kernels
import torch
from transformers import (
    AutoModelForCausalLM,
    BambaConfig,
    GraniteMoeHybridConfig,
    Mamba2Config,
    Mamba2ForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    NemotronHConfig,
)

from perfmamba.models import component_map, use_backend
from perfmamba.pruning.selection import Selection

VOCABULARY = 40
TOKENS = torch.randint(2, VOCABULARY, (2, 21), generator=torch.Generator().manual_seed(0))


def mamba1(*, states=6, layers=2, dtype=torch.float64):
    config = MambaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        state_size=states,
        num_hidden_layers=layers,
        residual_in_fp32=False,
        use_bias=True,
    )
    return shaken(MambaForCausalLM(config), dtype)


def mamba2(*, states=6, groups=2, layers=2, bias=True, dtype=torch.float64):
    config = Mamba2Config(
        vocab_size=VOCABULARY,
        hidden_size=32,
        state_size=states,
        num_hidden_layers=layers,
        head_dim=16,
        num_heads=4,
        n_groups=groups,
        chunk_size=8,
        residual_in_fp32=False,
        use_bias=bias,
        tie_word_embeddings=True,
    )
    return shaken(Mamba2ForCausalLM(config), dtype)


MIXERS = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_n_groups": 2, "mamba_d_state": 7}
ATTENTION = {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48}
HYBRIDS = {
    "bamba": BambaConfig(
        vocab_size=40,
        hidden_size=32,
        num_hidden_layers=2,
        attn_layer_indices=[1],
        mamba_chunk_size=16,
        **ATTENTION,
        **MIXERS,
    ),
    "granitemoehybrid": GraniteMoeHybridConfig(
        vocab_size=40,
        hidden_size=32,
        num_hidden_layers=2,
        layers_block_type=["linear_attention", "full_attention"],
        num_local_experts=2,
        num_experts_per_tok=1,
        shared_intermediate_size=24,
        **ATTENTION,
        **MIXERS,
    ),
    "nemotron_h": NemotronHConfig(
        vocab_size=40,
        hidden_size=32,
        layers_block_type=["linear_attention", "full_attention"],
        mamba_num_heads=4,
        mamba_head_dim=16,
        n_groups=2,
        ssm_state_size=7,
        **ATTENTION,
    ),
}


def hybrid(kind):
    """A model with a Mamba-2 layer and one of attention."""
    torch.manual_seed(0)
    return shaken(AutoModelForCausalLM.from_config(HYBRIDS[kind]), torch.float32)


def shaken(model, dtype=torch.float64):
    """The model with noise on every weight: none is zero, one, or equal to another."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator), alpha=0.2)
    return model.to(dtype).eval()


def random_selection(model, count, *, seed=0):
    """`count` states of each group, others in each layer and group."""
    generator = torch.Generator().manual_seed(seed)
    mixers = [mixer.module for mixer in component_map(model).mixers]
    states = mixers[0].ssm_state_size
    kept = tuple(
        torch.stack(
            [
                torch.randperm(states, generator=generator)[:count].sort().values
                for _ in range(getattr(mixer, "n_groups", 1))
            ]
        )
        for mixer in mixers
    )
    return Selection(kept=kept, ratio=1 - count / states, states=states, score="random", ties=0)


@torch.inference_mode()
def logits(model, backend="torch", tokens=TOKENS, **kwargs):
    use_backend(model, backend)
    return model(tokens, **kwargs).logits


@torch.inference_mode()
def scan_outputs(model, tokens=TOKENS):
    """What the scan of each layer gives, in the dtype of the scan: transformers' norms are in float32."""
    found, handles = [], []
    for mixer in component_map(model).mixers:
        reader = mixer.module.norm if hasattr(mixer.module, "norm") else mixer.module.out_proj
        handles.append(reader.register_forward_pre_hook(lambda _, args: found.append(args[0])))
    use_backend(model, "torch")
    model(tokens)
    for handle in handles:
        handle.remove()
    return found


@torch.inference_mode()
def logits_reading_through(model, matrices, monkeypatch):
    """The logits of a dense model whose scans are given M C in place of C, M (g, n, n) for each layer.

    A layer that reads C' = Q^T C from h' = P^T h gives C^T Q P^T h, as this does with M = P Q^T. Nothing of
    the model is cut here, and the scans are the kernels' own.
    """
    left = iter(matrices)

    def scan_mamba1(u, delta, a, b, c, *, return_last_state, use_mambapy, use_associative_scan, **options):
        read = torch.einsum("mn,bnl->bml", next(left)[0], c)
        return perfmamba_kernels.selective_scan(u, delta, a.to(u), b, read, **options)[0]

    def scan_mamba2(x, dt, a, b, c, *, chunk_size, return_final_states, **options):
        read = torch.einsum("gmn,blgn->blgm", next(left), c)
        return perfmamba_kernels.ssd(x, dt, a.to(x), b, read, **options)[0]

    modeling = sys.modules[type(component_map(model).mixers[0].module).__module__]
    with monkeypatch.context() as patch:
        if hasattr(modeling, "mamba2_chunk_scan"):
            patch.setattr(modeling, "mamba2_chunk_scan", scan_mamba2)
        else:
            patch.setattr(modeling, "mamba_selective_scan", scan_mamba1)
        return model(TOKENS, use_cache=False).logits
