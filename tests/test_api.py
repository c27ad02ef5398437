"""The Python face: what `import perfmamba` offers, on real small models."""

import ast
import inspect
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.profiler import record_function

import perfmamba
from perfmamba.components import COMPONENTS
from perfmamba.errors import InputError, ModelError, PerfMambaError, TraceError
from perfmamba.models import use_backend
from perfmamba.profiling import break_down, read_trace
from perfmamba.pruning.activity import gather_activity
from perfmamba.pruning.selection import select
from perfmamba.pruning.surgery import pruned
from tests.small_models import VOCABULARY, small_mamba1, small_mamba2

TOKENS = torch.randint(0, VOCABULARY, (2, 12), generator=torch.Generator().manual_seed(0))
QUICK = {"warmup": 1, "repeat": 2}


@pytest.fixture(scope="module", params=[small_mamba1, small_mamba2], ids=["mamba1", "mamba2"])
def model(request):
    return request.param()


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x, scale=1.0):
        with record_function("mixing"):
            return self.linear(x) * scale


def hooks_of(model):
    return [
        [len(hooks) for name, hooks in vars(module).items() if "hook" in name and hasattr(hooks, "__len__")]
        for module in model.modules()
    ]


def test_every_public_name_is_there():
    assert perfmamba.__all__ == sorted(perfmamba.__all__)
    assert set(perfmamba.__all__) <= set(dir(perfmamba))
    for name in perfmamba.__all__:
        assert getattr(perfmamba, name).__doc__
    assert perfmamba.use_backend is use_backend
    with pytest.raises(AttributeError, match="no attribute 'profil'"):
        perfmamba.profil  # noqa: B018  # looking it up is what is tested


def test_type_checkers_see_what_is_imported():
    """mypy reads the imports under TYPE_CHECKING; Python goes by `_HOMES`."""
    tree = ast.parse(inspect.getsource(perfmamba))
    (typed,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {
        name.asname or name.name: (statement.module, name.name)
        for statement in typed.body
        for name in statement.names
    }
    assert seen == perfmamba._HOMES
    assert sorted(seen) == perfmamba.__all__


def test_a_profile_has_latencies_and_the_components(model):
    profile = perfmamba.profile(model, TOKENS, **QUICK)
    assert len(profile.latency_ms) == profile.passes == 2
    assert profile.median_ms == pytest.approx(sum(profile.latency_ms) / 2)
    assert {row.label for row in profile.breakdown.rows} == set(COMPONENTS)
    assert profile.breakdown.unattributed.launches == 0
    assert profile.trace is None
    assert profile.name == f"{type(model).__name__}, prefill"


def test_the_model_is_left_as_it_was(model):
    with torch.inference_mode():
        before, hooks = model(TOKENS).logits, hooks_of(model)
        perfmamba.profile(model, TOKENS, **QUICK)
        perfmamba.prune(model, ratio=0.5, calibration=TOKENS)
        assert hooks_of(model) == hooks
        assert torch.equal(model(TOKENS).logits, before)
    assert next(model.parameters()).requires_grad


@pytest.mark.parametrize("inputs", [TOKENS, {"input_ids": TOKENS}], ids=["tensor", "named"])
def test_decode_runs_one_token_a_pass(model, inputs):
    calls = []

    def note_shape(_, given, named):
        calls.append((given[0] if given else named["input_ids"]).shape)

    hook = model.register_forward_pre_hook(note_shape, with_kwargs=True)
    profile = perfmamba.profile(model, inputs, mode="decode", **QUICK)
    hook.remove()
    # once over the prompt, then single tokens: warm-up, 2 timed, the profiler's warm-up, 2 profiled
    assert calls == [(2, 12), *[(2, 1)] * 6]
    assert profile.name.endswith("decode")


def test_a_busy_cpu_is_noted(model, monkeypatch):
    monkeypatch.setattr("perfmamba.api.cautions", lambda uses, _: (f"seen {len(uses)} times",))
    assert perfmamba.profile(model, TOKENS, **QUICK).breakdown.notes[-1] == "seen 2 times"


def test_a_trace_is_kept_where_it_is_asked_for(model, tmp_path):
    profile = perfmamba.profile(model, TOKENS, trace=tmp_path / "trace.json.gz", **QUICK)
    assert profile.trace == tmp_path / "trace.json.gz"
    parsed = perfmamba.parse(profile.trace)
    assert parsed.breakdown == break_down(read_trace(profile.trace))
    assert parsed.breakdown.total == profile.breakdown.total
    assert parsed.breakdown.rows == profile.breakdown.rows
    assert [path.name for path in tmp_path.iterdir()] == ["trace.json.gz"]


@pytest.mark.parametrize("inputs", [torch.ones(2, 8), (torch.ones(2, 8), 2.0), {"x": torch.ones(2, 8)}])
def test_any_module_is_broken_down_by_what_it_has(inputs):
    profile = perfmamba.profile(Block(), inputs, **QUICK)
    assert profile.breakdown.kind == "annotation"
    assert [row.label for row in profile.breakdown.rows] == ["mixing"]


def test_a_module_that_cannot_decode():
    with pytest.raises(ModelError, match="returns a cache"):
        perfmamba.profile(Block(), torch.ones(2, 8), mode="decode")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"repeat": 0}, "repeat=0"),
        ({"warmup": -1}, "warmup=-1"),
        ({"trace": "trace.json"}, r"ends in \.json\.gz"),
    ],
)
def test_a_profile_that_cannot_be_made(options, message):
    with pytest.raises(InputError, match=message):
        perfmamba.profile(Block(), torch.ones(2, 8), **options)


@pytest.fixture(scope="module")
def profile():
    return perfmamba.profile(small_mamba2(), TOKENS, **QUICK)


def test_a_profile_prints_itself(profile):
    text = str(profile)
    assert text.startswith("Mamba2ForCausalLM, prefill: Time and memory by component, cpu")
    assert "State Space" in text
    assert f"Without the profiler a pass takes {profile.median_ms:,.3f} ms (median of 2)." in text
    assert "sums over 2 profiler steps" in text
    assert profile._repr_html_().startswith("<figure>")
    assert "(4 more)" in [row[0] for row in profile.table(top=1).rows]


def test_a_data_frame_sums_to_the_total(profile):
    pytest.importorskip("pandas")
    frame, total = profile.to_pandas(), profile.breakdown.total
    assert set(frame.label) == {*COMPONENTS, "other", "unattributed"}
    for column in ("time_ns", "launches", "allocated_bytes", "freed_bytes"):
        assert frame[column].sum() == getattr(total, column)


def test_without_pandas_it_says_what_to_install(profile, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match=r"pip install 'perfmamba\[pandas\]'"):
        profile.to_pandas()


def test_a_file_that_is_no_trace(tmp_path):
    (tmp_path / "empty.json").write_text("[]")
    with pytest.raises(TraceError, match="no operators, kernels or memory events"):
        perfmamba.parse(tmp_path / "empty.json")
    with pytest.raises(PerfMambaError):
        perfmamba.parse(tmp_path / "absent.json")


@pytest.mark.parametrize("calibration", [TOKENS, [TOKENS[:1], TOKENS[1:]]], ids=["tensor", "batches"])
def test_a_pruned_model_is_what_the_steps_apart_give(model, calibration):
    smaller = perfmamba.prune(model, ratio=0.5, score="energy", bridge="lstsq", calibration=calibration)
    activity = gather_activity(model, [TOKENS])
    selection = select(activity, ratio=0.5, score="energy")
    expected = pruned(model, selection, bridge="lstsq", activity=activity)
    with torch.inference_mode():
        torch.testing.assert_close(smaller(TOKENS).logits, expected(TOKENS).logits)
    assert smaller.config.state_size < model.config.state_size


def test_a_pruned_model_is_saved_and_loaded(model, tmp_path):
    np.save(tmp_path / "tokens.npy", np.tile(TOKENS.numpy(), (4, 1)))
    smaller = perfmamba.prune(model, ratio=0.5, calibration=str(tmp_path / "tokens.npy"))
    smaller.save_pretrained(tmp_path / "smaller")
    loaded = perfmamba.load(str(tmp_path / "smaller"), backend="torch")
    with torch.inference_mode():
        torch.testing.assert_close(loaded.model(TOKENS).logits, smaller(TOKENS).logits, rtol=1e-4, atol=1e-5)


def test_scores_of_the_weights_need_no_data(model):
    assert perfmamba.prune(model, ratio=0.5, score="magnitude").config.state_size < model.config.state_size
    with pytest.raises(InputError, match=r"score output is measured on data: give calibration="):
        perfmamba.prune(model, ratio=0.5)


def test_random_tokens_come_with_a_warning():
    model = small_mamba2(layers=1)
    with pytest.warns(UserWarning, match="random tokens move the states as no text does"):
        perfmamba.prune(model, ratio=0.5, calibration="random")


def test_text_needs_a_tokenizer(tmp_path):
    (tmp_path / "text.txt").write_text("A text.\n" * 100)
    with pytest.raises(InputError, match="calibrate it on token ids"):
        perfmamba.prune(small_mamba2(), ratio=0.5, calibration=str(tmp_path / "text.txt"))
