"""What the states of a small model do, by the definitions: one position after the other, in float64.

Nothing of the package is used. Mixers get their inputs from the model's own forward pass; projections,
convolution and recurrence are written out here.
"""

from dataclasses import dataclass

import torch
from torch.nn.functional import conv1d, silu, softplus


@dataclass(frozen=True)
class Scanned:
    """What a mixer scans: x (b, l, h, p), dt (b, l, h), rates (h, n), writes and reads (b, l, g, n)."""

    x: torch.Tensor
    dt: torch.Tensor
    rates: torch.Tensor
    writes: torch.Tensor
    reads: torch.Tensor


def scanned(mixer, inputs):
    rows = mixer.in_proj(inputs)
    rates = -mixer.A_log.float().exp().double()  # transformers computes these in float32 whatever the dtype
    if hasattr(mixer, "x_proj"):
        states = rates.shape[1]
        x = convolved(mixer, rows[..., : len(rates)])
        low, writes, reads = mixer.x_proj(x).split([mixer.time_step_rank, states, states], dim=2)
        dt = softplus(low @ mixer.dt_proj.weight.mT + mixer.dt_proj.bias.float())
        return Scanned(x[..., None], dt, rates, writes[:, :, None], reads[:, :, None])
    heads, width, shape = mixer.num_heads, mixer.intermediate_size, (mixer.n_groups, mixer.ssm_state_size)
    dt = softplus(rows[..., -heads:] + mixer.dt_bias).clamp(*mixer.time_step_limit)
    x, writes, reads = convolved(mixer, rows[..., width:-heads]).tensor_split(
        [width, width + shape[0] * shape[1]], dim=2
    )
    return Scanned(
        x.unflatten(2, (heads, -1)),
        dt,
        rates[:, None].expand(-1, shape[1]),
        writes.unflatten(2, shape),
        reads.unflatten(2, shape),
    )


def convolved(mixer, rows):
    weight, bias = mixer.conv1d.weight, mixer.conv1d.bias
    y = conv1d(rows.mT, weight, bias, padding=weight.shape[2] - 1, groups=len(weight))
    return silu(y[..., : rows.shape[1]].mT)


def sequential_sums(scan):
    """The statistics of a layer, position by position and group by group."""
    batch, length, heads, _ = scan.x.shape
    groups, states = scan.writes.shape[2:]
    of_group = torch.arange(heads).view(groups, -1)
    sums = {name: torch.zeros(groups, states).double() for name in ("write", "energy", "output")}
    sums |= {f"{name}_moment": torch.zeros(groups, states, states).double() for name in ("state", "output")}
    for row in range(batch):
        h = torch.zeros(*scan.x.shape[2:], states).double()  # (h, p, n)
        for t in range(length):
            dt, x = scan.dt[row, t], scan.x[row, t]
            for group, members in enumerate(of_group):
                write, read = scan.writes[row, t, group], scan.reads[row, t, group]
                decay = (dt[members, None] * scan.rates[members]).exp()  # (r, n)
                h[members] = decay[:, None] * h[members] + (dt[members, None] * x[members])[..., None] * write
                rows = h[members].flatten(0, 1)  # (r p, n)
                sums["write"][group] += dt[members].mean() * write.abs()
                sums["energy"][group] += (rows**2).sum(0)
                sums["output"][group] += ((rows * read) ** 2).sum(0)
                sums["state_moment"][group] += rows.T @ rows
                sums["output_moment"][group] += torch.outer(read, read)
    sums["dt"] = scan.dt.sum((0, 1))
    return {name: total / (batch * length) for name, total in sums.items()}


@torch.no_grad()
def sequential_activity(model, tokens):
    """The statistics of every layer, by the names of `LayerActivity`; the model is in float64."""
    inputs = []
    mixers = [block.mixer for block in model.backbone.layers]
    hooks = [mixer.register_forward_pre_hook(lambda _, args: inputs.append(args[0])) for mixer in mixers]
    model(tokens)
    for hook in hooks:
        hook.remove()
    return [sequential_sums(scanned(mixer, given)) for mixer, given in zip(mixers, inputs, strict=True)]
