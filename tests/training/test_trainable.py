"""Models that can be trained: the gradients are those of the reference, and nothing else changes."""

import pytest
import torch
from perfmamba_kernels import reference
from torch.testing import assert_close

from perfmamba.models import use_backend
from perfmamba.training import trainable as module
from perfmamba.training.trainable import descend, selective_scan, trainable
from tests.small_models import small_mamba1, small_mamba2


def scan_inputs(batch=2, channels=3, states=4, length=5):
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()

    sequences = (batch, channels, length)
    positional = [draw(*sequences), draw(*sequences), draw(channels, states)]
    positional += [draw(batch, states, length), draw(batch, states, length)]
    return positional, {"D": draw(channels), "z": draw(*sequences), "delta_bias": draw(channels)}


def test_the_scan_is_the_reference():
    positional, named = scan_inputs()
    expected, _ = reference.selective_scan(
        *(each.detach() for each in positional), **named, delta_softplus=True
    )
    assert_close(selective_scan(*positional, **named), expected, rtol=1e-12, atol=1e-12)


def test_the_gradients_of_the_scan_are_those_of_finite_differences():
    positional, named = scan_inputs()

    def scan(*tensors):
        return selective_scan(*tensors[:5], **dict(zip(named, tensors[5:], strict=True)))

    assert torch.autograd.gradcheck(scan, (*positional, *named.values()))


def gradients(model):
    model.zero_grad()
    tokens = torch.arange(30).view(2, 15)
    model(tokens, use_cache=False).logits.square().mean().backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("make", [small_mamba1, small_mamba2])
def test_the_gradients_of_a_model_are_those_of_transformers(make):
    model = make()
    use_backend(model, "hf")
    expected = gradients(model)
    with trainable(model):
        assert_close(gradients(model), expected, rtol=1e-4, atol=1e-7)


def test_a_model_has_the_scan_while_it_is_trainable(monkeypatch):
    calls = []

    def counted(*args, **kwargs):
        calls.append(args[0].shape)
        return selective_scan(*args, **kwargs)

    monkeypatch.setattr(module, "selective_scan", counted)
    model, other = small_mamba1(), small_mamba1()
    with trainable(model):
        model(torch.arange(6)[None], use_cache=False)
        assert len(calls) == 2
        other(torch.arange(6)[None], use_cache=False)
    model(torch.arange(6)[None], use_cache=False)
    assert len(calls) == 2


def test_what_the_scan_leaves_out_the_mixer_does_not_ask_for(monkeypatch):
    asked = []

    def recorded(*args, D, z, delta_bias, **rest):  # noqa: N803  # the mixer calls it by this name
        asked.append(rest)
        return selective_scan(*args, D=D, z=z, delta_bias=delta_bias)

    monkeypatch.setattr(module, "selective_scan", recorded)
    model = small_mamba1()
    with trainable(model):
        model(torch.arange(6)[None], use_cache=False)
    how = {"use_mambapy", "use_associative_scan"}  # which of transformers' own forms to use
    for rest in asked:
        assert {name: value for name, value in rest.items() if name not in how} == {
            "delta_softplus": True,
            "return_last_state": False,
        }
    assert len(asked) == 2


def test_a_step_goes_down_the_gradient_no_further_than_a_norm_of_one():
    model = torch.nn.Linear(3, 1, bias=False)
    before = model.weight.detach().clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=9.0)
    inputs = torch.tensor([30.0, 0.0, 40.0])
    descend(model, optimizer, model(inputs).sum(), learning_rate=0.5)
    assert_close(model.weight.detach(), before - 0.5 * inputs[None] / 50)
