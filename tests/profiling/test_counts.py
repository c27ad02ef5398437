"""The counts against torch's own counter on transformers' modules, and against published totals."""

from collections.abc import Iterator
from inspect import signature

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.version import Version
from torch.utils.flop_counter import FlopCounterMode
from transformers import DynamicCache, Mamba2Config, Mamba2ForCausalLM, MambaConfig, MambaForCausalLM

from perfmamba.components import COMPONENTS, OTHER
from perfmamba.errors import InputError
from perfmamba.models.bridged import BridgedMamba2Config, BridgedMamba2ForCausalLM
from perfmamba.profiling.counts import (
    SSD_FORMS,
    Count,
    Mamba1Dimensions,
    Mamba2Dimensions,
    ModelCount,
    count,
    dimensions,
)
from perfmamba.profiling.counts.layers import causal_conv

MAMBA_130M = MambaConfig(hidden_size=768, num_hidden_layers=24, vocab_size=50280)
MAMBA2_130M = Mamba2Config(
    hidden_size=768, num_heads=24, state_size=128, num_hidden_layers=24, n_groups=1, vocab_size=50288
)
CLASSES = {
    "mamba": MambaForCausalLM,
    "mamba2": Mamba2ForCausalLM,
    "perfmamba_mamba2": BridgedMamba2ForCausalLM,
}


@st.composite
def mamba1_configs(draw: st.DrawFn) -> MambaConfig:
    return MambaConfig(
        hidden_size=draw(st.integers(1, 40)),
        state_size=draw(st.integers(1, 20)),
        conv_kernel=draw(st.integers(2, 5)),
        time_step_rank=draw(st.integers(1, 6)),
        num_hidden_layers=draw(st.integers(1, 2)),
        vocab_size=11,
        use_bias=draw(st.booleans()),
        use_conv_bias=draw(st.booleans()),
    )


@st.composite
def mamba2_configs(draw: st.DrawFn) -> Mamba2Config:
    groups, heads_a_group, head_dim = draw(st.tuples(*[st.integers(1, 4)] * 3))
    heads = groups * heads_a_group
    return Mamba2Config(
        hidden_size=heads * head_dim,
        expand=1,
        num_heads=heads,
        head_dim=head_dim,
        n_groups=groups,
        state_size=draw(st.integers(1, 20)),
        chunk_size=draw(st.integers(1, 16)),
        conv_kernel=draw(st.integers(2, 5)),
        num_hidden_layers=draw(st.integers(1, 2)),
        vocab_size=11,
        use_bias=draw(st.booleans()),
        use_conv_bias=draw(st.booleans()),
    )


@st.composite
def bridged_configs(draw: st.DrawFn) -> BridgedMamba2Config:
    config = draw(mamba2_configs())
    config.state_size += 1  # so that a bridge has something to leave out
    bridge = draw(st.sampled_from(["lstsq", "balanced"]))
    return BridgedMamba2Config.of(config, bridge=bridge, state_size=draw(st.integers(1, config.state_size)))


def configs() -> st.SearchStrategy[MambaConfig | Mamba2Config]:
    return mamba1_configs() | mamba2_configs() | bridged_configs()


def on_meta(config: MambaConfig | Mamba2Config) -> MambaForCausalLM | Mamba2ForCausalLM:
    """The model without storage: its operators see shapes only, so any size is cheap."""
    with torch.device("meta"):
        model = CLASSES[config.model_type](config)
    return model.eval()


def seen_by_torch(config: MambaConfig | Mamba2Config, batch: int, seqlen: int) -> Iterator[dict[str, int]]:
    """FLOPs per component of the whole model, first for a prefill, then for one decode step."""
    model, cache = on_meta(config), DynamicCache(config=config)
    cache_name = "cache" if "cache" in signature(model.forward).parameters else "cache_params"
    for length in (seqlen, 1):
        ids = torch.zeros(batch, length, dtype=torch.long, device="meta")
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(ids, **{cache_name: cache}, use_cache=True, logits_to_keep=1)
        yield by_component(counter)


def by_component(counter: FlopCounterMode) -> dict[str, int]:
    """Projections and lm_head are modules, the convolution is an operator, the scan is what is left."""
    counts = counter.get_flop_counts()

    def of_modules(suffix: str) -> int:
        return sum(sum(ops.values()) for name, ops in counts.items() if name.endswith(suffix))

    seen = {
        "in_proj": of_modules(".in_proj"),
        "conv": counts["Global"].get(torch.ops.aten.convolution, 0),
        "out_proj": of_modules(".out_proj"),
        OTHER: of_modules(".lm_head"),
    }
    return {"norm": 0, **seen, "ssm": counter.get_total_flops() - sum(seen.values())}


def as_executed(counted: ModelCount, config: MambaConfig | Mamba2Config, positions: int) -> dict[str, int]:
    """Our product FLOPs, with the convolution at the number of outputs that transformers computes."""
    dims = dimensions(config)
    conv = causal_conv(dims.conv_channels, dims.d_conv, tokens=positions, state_passes=0, bias=False)
    products = {name: component.matmul_flops for name, component in counted.totals().items()}
    return products | {"conv": conv.matmul_flops * dims.n_layers}


def has_only_products(config: MambaConfig | Mamba2Config) -> bool:
    """False where einsum contracts an axis of length 1: it multiplies instead, which torch does not count."""
    return isinstance(config, MambaConfig) or min(config.state_size, config.chunk_size) > 1


def prefill_as_executed(config: MambaConfig | Mamba2Config, batch: int, seqlen: int) -> dict[str, int]:
    """transformers pads both ends of the convolution, and a prompt shorter than it, and cuts afterwards."""
    counted = count(dimensions(config), batch=batch, seqlen=seqlen, ssd_form="transformers")
    taps = config.conv_kernel
    products = as_executed(counted, config, batch * (max(seqlen, taps) + taps - 1))
    if isinstance(config, Mamba2Config) and Version(transformers.__version__) < Version("5.18"):
        # the scan is broadcast products and sums, which torch does not count; a bridge's matrices it does
        products["ssm"] = bridge_flops(config) * batch * seqlen
    return products


def bridge_flops(config: Mamba2Config) -> int:
    """Of the matrices of a bridge, all layers, for one position; 0 without a bridge."""
    matrices = 1 + config.mixes_b if isinstance(config, BridgedMamba2Config) else 0
    entries = getattr(config, "projected_state_size", 0)
    return 2 * matrices * config.num_hidden_layers * config.n_groups * entries * config.state_size


def step_as_executed(config: MambaConfig | Mamba2Config, batch: int) -> dict[str, int]:
    """transformers convolves the window once more as it was before the step, and drops that output."""
    return as_executed(count(dimensions(config), batch=batch, seqlen=1, mode="decode"), config, batch * 2)


@settings(max_examples=40, deadline=None)
@given(config=configs().filter(has_only_products), batch=st.integers(1, 3), seqlen=st.integers(1, 40))
def test_products_equal_torchs_counter(config, batch, seqlen):
    prefill, decode = seen_by_torch(config, batch, seqlen)
    assert prefill == prefill_as_executed(config, batch, seqlen)
    assert decode == step_as_executed(config, batch)


@pytest.mark.parametrize("seqlen", [64, 512, 2048])
def test_products_equal_torchs_counter_on_mamba2_130m(seqlen):
    config = Mamba2Config(**{**MAMBA2_130M.to_dict(), "num_hidden_layers": 1})
    prefill, decode = seen_by_torch(config, 8, seqlen)
    assert prefill == prefill_as_executed(config, 8, seqlen)
    assert decode == step_as_executed(config, 8)


def test_dimensions_of_the_published_130m_models():
    assert dimensions(MAMBA_130M) == Mamba1Dimensions(
        n_layers=24,
        d_model=768,
        d_inner=1536,
        d_state=16,
        d_conv=4,
        vocab_size=50280,
        use_bias=False,
        use_conv_bias=True,
        dt_rank=48,
    )
    mamba2 = dimensions(MAMBA2_130M)
    assert isinstance(mamba2, Mamba2Dimensions)
    assert (mamba2.in_proj_features, mamba2.conv_channels, mamba2.head_dim) == (3352, 1792, 64)


def test_a_bridge_is_counted_where_it_is():
    """Wider B and C through in_proj and conv; its products and weights in ssm, whose state is smaller."""
    kept, entries, groups, tokens = 12, 128, 1, 2 * 100
    plain = Mamba2Config(**{**MAMBA2_130M.to_dict(), "state_size": kept})
    none = count(dimensions(plain), batch=2, seqlen=100).layer
    for bridge, matrices in (("lstsq", 1), ("balanced", 2)):
        config = BridgedMamba2Config.of(MAMBA2_130M, bridge=bridge, state_size=kept)
        layer = count(dimensions(config), batch=2, seqlen=100).layer
        more = {name: layer[name] + none[name] * -1 for name in COMPONENTS}
        channels, weights = matrices * groups * (entries - kept), matrices * groups * entries * kept
        assert more["norm"] == more["out_proj"] == Count()
        assert more["in_proj"].flops == 2 * 768 * channels * tokens
        assert more["conv"].matmul_flops == 2 * 4 * channels * tokens
        assert more["ssm"] == Count(matmul_flops=2 * weights * tokens, elements=weights + channels * tokens)


def test_an_unknown_model_is_refused_by_name():
    with pytest.raises(InputError, match="'gpt2'"):
        dimensions(type("Config", (), {"model_type": "gpt2"}))


@pytest.mark.parametrize(("batch", "seqlen"), [(0, 1), (1, 0), (-1, 8)])
def test_an_empty_workload_is_refused(batch, seqlen):
    with pytest.raises(InputError, match="at least 1"):
        count(dimensions(MAMBA_130M), batch=batch, seqlen=seqlen)


def one_more_chunk(form: str, *, n: int, q: int) -> Count:
    """What a chunk of Q tokens adds to the scan of a mamba2-130m layer: no weights, no final state."""
    dims = dimensions(Mamba2Config(**{**MAMBA2_130M.to_dict(), "state_size": n, "chunk_size": q}))
    three, two = (count(dims, batch=1, seqlen=q * chunks, ssd_form=form).layer["ssm"] for chunks in (3, 2))
    return three + two * -1


@pytest.mark.parametrize(
    ("n", "q", "mflop"), [(128, 256, 1.343), (128, 64, 0.999), (64, 256, 0.918), (38, 64, 0.435)]
)
def test_tiled_products_are_the_rooflines(n, q, mflop):
    # 2QGN + 2QD(1 + 64/Q)/2 + 4ND FLOPs a token with D = 1536, G = 1
    products = one_more_chunk("tiled", n=n, q=q).matmul_flops
    assert products == q * (2 * q * n + 1536 * (q + 64) + 4 * n * 1536)
    assert products / q / 1e6 == pytest.approx(mflop, abs=1e-3)


@pytest.mark.parametrize(("n", "kilobytes"), [(128, 6.70), (90, 6.55), (64, 6.45), (38, 6.34), (13, 6.24)])
def test_least_scan_traffic_in_16_bit(n, kilobytes):
    moved = one_more_chunk("chunked", n=n, q=256).moved_bytes(element_bytes=2)
    assert moved == 256 * (2 * (2 * 1536 + 2 * n) + 2 * 24)
    assert moved / 256 / 1e3 == pytest.approx(kilobytes, abs=6e-3)


def test_projections_of_mamba2_130m_per_token():
    layer = count(dimensions(MAMBA2_130M), batch=1, seqlen=1).layer
    assert (layer["in_proj"].flops, layer["out_proj"].flops) == (5_148_672, 2_359_296)


@pytest.mark.parametrize("bridge", [None, "lstsq", "balanced"])
def test_a_decode_step_moves_every_weight_and_the_state_twice(bridge):
    config = MAMBA2_130M
    if bridge:
        config = BridgedMamba2Config.of(MAMBA2_130M, bridge=bridge, state_size=12)
    one, two = (count(dimensions(config), batch=batch, seqlen=1, mode="decode").total() for batch in (1, 2))
    assert two.state_elements == 2 * one.state_elements == 4 * 24 * 1536 * config.state_size
    # What does not grow with the batch is the weights: all parameters, read once. The tied embedding is
    # read in full by lm_head; looking a token up is an activation.
    weights = one.elements * 2 - two.elements
    assert weights == sum(parameter.numel() for parameter in on_meta_tied(config).parameters())


def on_meta_tied(config: Mamba2Config) -> Mamba2ForCausalLM:
    model = on_meta(config)
    model.lm_head.weight = model.backbone.embeddings.weight
    return model


@settings(max_examples=60)
@given(config=configs(), batch=st.integers(1, 4), seqlen=st.integers(1, 300), form=st.sampled_from(SSD_FORMS))
def test_flops_are_proportional_to_the_batch(config, batch, seqlen, form):
    dims = dimensions(config)
    one = count(dims, batch=1, seqlen=seqlen, ssd_form=form)
    many = count(dims, batch=batch, seqlen=seqlen, ssd_form=form)
    for name in (*COMPONENTS, OTHER):
        assert many.totals()[name].flops == batch * one.totals()[name].flops
        assert many.totals()[name].state_elements == batch * one.totals()[name].state_elements


@settings(max_examples=60)
@given(config=mamba2_configs(), chunks=st.integers(1, 5))
def test_forms_are_ordered_by_the_products_they_compute(config, chunks):
    dims = dimensions(config)
    chunked, tiled, executed = (
        count(dims, batch=1, seqlen=chunks * config.chunk_size, ssd_form=form).layer["ssm"].matmul_flops
        for form in ("chunked", "tiled", "transformers")
    )
    assert chunked <= tiled < executed


@settings(max_examples=60)
@given(config=mamba2_configs(), seqlen=st.integers(1, 100))
def test_traffic_does_not_depend_on_the_form(config, seqlen):
    moved = {
        count(dimensions(config), batch=2, seqlen=seqlen, ssd_form=form)
        .total()
        .moved_bytes(element_bytes=2, state_bytes=4)
        for form in SSD_FORMS
    }
    assert len(moved) == 1


@given(config=configs(), seqlen=st.integers(1, 10_000))
def test_a_decode_step_does_not_depend_on_the_context(config, seqlen):
    dims = dimensions(config)
    assert count(dims, batch=2, seqlen=seqlen, mode="decode") == count(dims, batch=2, seqlen=1, mode="decode")
