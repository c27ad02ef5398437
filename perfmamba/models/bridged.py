"""Mamba-2 with a bridge: transformers classes whose mixers scan fewer states than B and C have entries.

A bridge (see `perfmamba.pruning.bridge`) multiplies C, or B and C, by a small matrix. In Mamba-2 they come
out of a convolution and an activation, so that the matrix cannot be part of the projection before: the mixer
has to apply it. Everything else is transformers' own model.

Importing this module registers the classes: `AutoModelForCausalLM.from_pretrained` then loads such a
checkpoint. It needs nothing else of perfmamba, because a checkpoint carries a copy of it, which has to run
with later versions of transformers, too. So it uses public names of transformers (the model, the
configuration, the methods of its cache) and five others: the class of the mixer, from which it takes the
weights that a bridge does not change, and the functions that the mixer calls. Those run the fused kernels
where they are installed, and `perfmamba.models.mixers` finds them by their names.
"""
# mypy: disallow-untyped-calls=False
# transformers' classes, which these derive from, leave many methods untyped

from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    Mamba2Config,
    Mamba2ForCausalLM,
    Mamba2Model,
)
from transformers import initialization as init
from transformers.models.mamba2.modeling_mamba2 import (
    Mamba2Mixer,
    causal_conv1d_fn,
    causal_conv1d_update,
    mamba2_chunk_scan,
    mamba2_selective_state_update,
)

if TYPE_CHECKING:
    from transformers import Cache


class BridgedMamba2Config(Mamba2Config):
    """The configuration of a Mamba-2 with a bridge.

    Attributes:
        state_size: states of the scan in each group, k.
        bridge: `lstsq` (C has all its entries, and a matrix) or `balanced` (B and C have).
        projected_state_size: entries that a whole B or C has in each group, n.
    """

    model_type = "perfmamba_mamba2"

    bridge: str = "balanced"
    projected_state_size: int = 128

    @classmethod
    def of(cls, config: Mamba2Config, *, bridge: str, state_size: int) -> Self:
        """Return the configuration of a Mamba-2 that gets a bridge to `state_size` states."""
        values = config.to_dict()
        for name in ("model_type", "architectures", "transformers_version"):
            values.pop(name, None)
        changed = {"bridge": bridge, "projected_state_size": config.state_size, "state_size": state_size}
        return cls(**(values | changed))

    @property
    def mixes_b(self) -> bool:
        """Whether B has a matrix too, not C alone."""
        return self.bridge == "balanced"

    @property
    def b_entries(self) -> int:
        """Entries of B in each group before the bridge."""
        return self.projected_state_size if self.mixes_b else self.state_size


class StateBridge(nn.Module):
    """Makes B and C of k entries in each group from what the convolution returns.

    Attributes:
        b: P (g, n, k); None where B has k entries already.
        c: Q (g, n, k).
    """

    def __init__(self, config: BridgedMamba2Config) -> None:
        super().__init__()
        shape = (config.n_groups, config.projected_state_size, config.state_size)
        self.groups = config.n_groups
        self.b = nn.Parameter(torch.empty(shape)) if config.mixes_b else None
        self.c = nn.Parameter(torch.empty(shape))

    def forward(self, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Return B and C, (b, l, g, k), from (b, l, g * n)."""
        return self._mixed(b, self.b), self._mixed(c, self.c)

    def _mixed(self, entries: Tensor, matrix: Tensor | None) -> Tensor:
        grouped = entries.unflatten(-1, (self.groups, -1))
        return grouped if matrix is None else torch.einsum("blgn,gnk->blgk", grouped, matrix)

    @torch.no_grad()
    def pick_first_states(self) -> None:
        """Set the matrices so that the model reads and writes its first k states, and mixes none."""
        for matrix in self.parameters():
            init.copy_(matrix, torch.eye(*matrix.shape[1:], device=matrix.device).expand_as(matrix))


class BridgedMamba2Mixer(Mamba2Mixer):
    """A Mamba-2 mixer with a bridge between the convolution and the scan."""

    def __init__(self, config: BridgedMamba2Config, layer_idx: int) -> None:
        super().__init__(config, layer_idx)
        b_channels = config.n_groups * config.b_entries
        c_channels = config.n_groups * config.projected_state_size
        self.conv_sizes = [self.intermediate_size, b_channels, c_channels]
        self.conv_dim = sum(self.conv_sizes)
        self.conv1d = nn.Conv1d(
            self.conv_dim,
            self.conv_dim,
            kernel_size=config.conv_kernel,
            groups=self.conv_dim,
            padding=config.conv_kernel - 1,
            bias=config.use_conv_bias,
        )
        rows = self.intermediate_size + self.conv_dim + self.num_heads
        self.in_proj = nn.Linear(self.hidden_size, rows, bias=config.use_bias)
        self.bridge = StateBridge(config)

    def forward(
        self,
        hidden_states: Tensor,  # (b, l, hidden size)
        cache: "Cache | None" = None,
        attention_mask: Tensor | None = None,  # (b, l)
        *,
        cache_params: "Cache | None" = None,  # the name of `cache` before transformers 5.24
        **kwargs: Any,
    ) -> Tensor:
        """Compute what `Mamba2Mixer.forward` does, with the bridge before the scan."""
        cache = cache_params if cache is None else cache
        window, state = self._remembered(cache)
        sizes = [self.intermediate_size, self.conv_dim, self.num_heads]
        gate, channels, dt = self.in_proj(_without_padding(hidden_states, attention_mask)).split(
            sizes, dim=-1
        )
        if window is not None and hidden_states.shape[1] == 1:
            convolved = self._convolve_one(channels.transpose(1, 2), window)
        else:
            convolved = self._convolve(channels.transpose(1, 2), cache, **kwargs)
        convolved = _without_padding(convolved.transpose(1, 2), attention_mask)
        x, b, c = convolved.split(self.conv_sizes, dim=-1)
        x = x.unflatten(-1, (self.num_heads, self.head_dim))
        b, c = self.bridge(b, c)
        if state is not None and hidden_states.shape[1] == 1:
            y = self._step(state, x, dt, b, c, **kwargs)
        else:
            y, state = self._scan(state, x, dt, b, c, **kwargs)
            if cache is not None:
                cache.update_recurrent_state(state, self.layer_idx)
        projected: Tensor = self.out_proj(self.norm(y.flatten(2), gate).to(hidden_states.dtype))
        return projected

    def _remembered(self, cache: "Cache | None") -> tuple[Tensor | None, Tensor | None]:
        """Return what the cache has of this layer, as tensors that a step updates in place.

        Returns:
            The window of the convolution, (b, c, taps), unless the cache keeps a longer past, and the state,
            (b, h, p, k).
        """
        if cache is None or not cache.has_previous_state(self.layer_idx):
            return None, None
        cached: Any = cache.layers[self.layer_idx]
        keeps_more = getattr(cached, "record_past", False)
        return None if keeps_more else cached.conv_states[0], cached.recurrent_states[0]

    def _convolve(self, channels: Tensor, cache: "Cache | None", **kwargs: Any) -> Tensor:
        """Return the activated convolution of (b, c, l), which goes on from what the cache has."""
        length = channels.shape[2]
        if cache is not None:
            channels = cache.update_conv_state(
                channels, self.layer_idx, conv_kernel_size=self.conv_kernel_size
            )
        weight, bias = self.conv1d.weight.squeeze(1), self.conv1d.bias
        convolved: Tensor = causal_conv1d_fn(channels, weight, bias, activation=self.activation, **kwargs)
        return convolved[:, :, -length:]

    def _convolve_one(self, channels: Tensor, window: Tensor) -> Tensor:
        """Return the same for one position (b, c, 1), and move the window (b, c, taps) on by it."""
        weight, bias = self.conv1d.weight.squeeze(1), self.conv1d.bias
        convolved: Tensor = causal_conv1d_update(channels, window, weight, bias, activation=self.activation)
        return convolved

    def _scan(
        self,
        state: Tensor | None,
        x: Tensor,  # (b, l, h, p)
        dt: Tensor,  # (b, l, h)
        b: Tensor,  # (b, l, g, k)
        c: Tensor,  # (b, l, g, k)
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor]:
        scanned: tuple[Tensor, Tensor] = mamba2_chunk_scan(
            x,
            dt,
            self._a(),
            b,
            c,
            chunk_size=self.chunk_size,
            D=self.D,
            dt_bias=self.dt_bias,
            dt_softplus=True,
            dt_limit=self.time_step_limit,
            initial_states=state,
            return_final_states=True,
            **kwargs,
        )
        return scanned

    def _step(
        self,
        state: Tensor,  # (b, h, p, k), updated in place
        x: Tensor,  # (b, 1, h, p)
        dt: Tensor,  # (b, 1, h)
        b: Tensor,  # (b, 1, g, k)
        c: Tensor,  # (b, 1, g, k)
        **kwargs: Any,
    ) -> Tensor:
        y: Tensor = mamba2_selective_state_update(
            state,
            x[:, 0],
            self._for_channels(dt[:, 0]),
            self._for_channels(self._a())[..., None].expand(-1, -1, state.shape[-1]),
            b[:, 0],
            c[:, 0],
            D=self._for_channels(self.D),
            dt_bias=self._for_channels(self.dt_bias),
            dt_softplus=True,
            **kwargs,
        )
        return y[:, None]

    def _a(self) -> Tensor:
        return -torch.exp(self.A_log.float())

    def _for_channels(self, head_values: Tensor) -> Tensor:
        """Expand (..., h) to (..., h, p), as the kernels of a step take them."""
        return head_values[..., None].expand(*head_values.shape, self.head_dim)


def _without_padding(positions: Tensor, mask: Tensor | None) -> Tensor:
    """Zero the padding of (b, l, c), for which the mask (b, l) is 0."""
    return positions if mask is None else (positions * mask[:, :, None]).to(positions.dtype)


class BridgedMamba2Model(Mamba2Model):
    """Mamba-2 with a bridge in every mixer."""

    config_class = BridgedMamba2Config

    def __init__(self, config: BridgedMamba2Config) -> None:
        super().__init__(config)
        for layer, block in enumerate(self.layers):
            block.mixer = BridgedMamba2Mixer(config, layer)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, StateBridge):
            module.pick_first_states()


class BridgedMamba2ForCausalLM(Mamba2ForCausalLM):
    """`BridgedMamba2Model` with a language modeling head."""

    config_class = BridgedMamba2Config

    def __init__(self, config: BridgedMamba2Config) -> None:
        super().__init__(config)
        self.backbone = BridgedMamba2Model(config)
        self.post_init()


AutoConfig.register(BridgedMamba2Config.model_type, BridgedMamba2Config, exist_ok=True)
AutoModel.register(BridgedMamba2Config, BridgedMamba2Model, exist_ok=True)
AutoModelForCausalLM.register(BridgedMamba2Config, BridgedMamba2ForCausalLM, exist_ok=True)

# A saved checkpoint brings this file along, for transformers' `trust_remote_code` where perfmamba is not.
BridgedMamba2Config.register_for_auto_class()
BridgedMamba2Model.register_for_auto_class("AutoModel")
BridgedMamba2ForCausalLM.register_for_auto_class("AutoModelForCausalLM")
