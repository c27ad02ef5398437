"""What scans are called with: complete enough to scan again, for sequences only, and gone after the block."""

import pytest
import torch
from perfmamba_kernels import reference
from torch.testing import assert_close

from perfmamba.errors import ModelError
from perfmamba.models import use_backend
from perfmamba.models.scan_inputs import observe_scans
from tests.small_models import cache_of


@pytest.mark.parametrize("backend", [None, "hf", "torch"])
@torch.inference_mode()
def test_the_inputs_are_all_that_the_state_needs(small_model, tokens, backend):
    use_backend(small_model, backend)
    seen = {}
    with observe_scans(small_model, seen.__setitem__):
        cache = cache_of(small_model(tokens, use_cache=True))
    assert list(seen) == [0, 1]
    for layer, scan in seen.items():
        if scan.A.ndim == 1:
            _, state = reference.ssd(scan.x, scan.dt, scan.A, scan.B, scan.C)
        else:
            u, dt, writes, reads = scan.x[..., 0].mT, scan.dt.mT, scan.B[:, :, 0].mT, scan.C[:, :, 0].mT
            _, state = reference.selective_scan(u, dt, scan.A, writes, reads)
        assert_close(cache.layers[layer].recurrent_states[0], state, rtol=1e-4, atol=1e-6)


@torch.inference_mode()
def test_decode_steps_are_not_scans(small_model, tokens):
    seen = []
    with observe_scans(small_model, lambda layer, scan: seen.append((layer, scan.x.shape[1]))):
        small_model.generate(tokens, max_new_tokens=4, do_sample=False, eos_token_id=None, pad_token_id=0)
    assert seen == [(0, tokens.shape[1]), (1, tokens.shape[1])]


@torch.inference_mode()
def test_nothing_is_seen_after_the_block_even_if_it_raised(small_model, tokens):
    def refuse(layer, scan):
        raise ArithmeticError

    with pytest.raises(ArithmeticError), observe_scans(small_model, refuse):
        small_model(tokens)
    small_model(tokens)
    seen = []
    with observe_scans(small_model, lambda layer, _: seen.append(layer)):
        pass
    small_model(tokens)
    assert not seen


def test_a_model_without_mamba_is_refused():
    with (
        pytest.raises(ModelError, match="Linear has no Mamba mixer"),
        observe_scans(torch.nn.Linear(2, 2), print),
    ):
        pass
