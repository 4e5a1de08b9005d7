"""The memories of a config: LSTM and GRU, with any number of layers."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from qframe.functional.compiling import is_readable
from qframe.networks.memory import Memory


class RecurrentLayers(Memory):
    """Recurrent layers on top of one another, each with a state of its own.

    Args:
        num_features: of the trunk.
        num_actions: A, the width of the last action as an input.
        inputs: what is appended to the trunk's features: ``action`` and ``reward``, those of the last step.
        hidden_size: units of each layer.
        num_layers: number of layers.
        layer_norm: whether the output of each layer is normalised.
        horizon: steps over which a layer remembers at first: its units forget at rates from one step up to this many.
            None: after about one step. See "Can recurrent neural networks warp time?", Tallec and Ollivier, 2018,
            equation 16.

    Raises:
        ValueError: a size below 1.
    """

    states_per_layer: int
    """Vectors of ``hidden_size`` numbers that a layer carries; the first of them is its output."""
    gates: int
    """Vectors that a layer computes from its input and its last output."""

    def __init__(
        self,
        num_features: int,
        num_actions: int,
        *,
        inputs: Sequence[Literal["action", "reward"]] = (),
        hidden_size: int = 128,
        num_layers: int = 1,
        layer_norm: bool = False,
        horizon: int | None = None,
    ) -> None:
        super().__init__(num_features, num_actions, inputs=inputs)
        for name, number in (("hidden_size", hidden_size), ("num_layers", num_layers)):
            if number < 1:
                raise ValueError(f"expected {name} of at least 1, got {number}")
        if horizon is not None and horizon < 3:
            raise ValueError(f"expected a horizon of at least 3 steps, or none, got {horizon}")
        self.num_features, self.hidden_size = hidden_size, hidden_size
        self.state_size = num_layers * self.states_per_layer * hidden_size
        sizes = [self.num_inputs, *[hidden_size] * (num_layers - 1)]
        input_layers = [nn.Linear(size, self.gates * hidden_size) for size in sizes]
        state_layers = [nn.Linear(hidden_size, self.gates * hidden_size) for _ in sizes]
        self.input_layers, self.state_layers = nn.ModuleList(input_layers), nn.ModuleList(state_layers)
        norms = [nn.LayerNorm(hidden_size) if layer_norm else nn.Identity() for _ in sizes]
        self.norms = nn.ModuleList(norms)
        for parameter in (*self.input_layers.parameters(), *self.state_layers.parameters()):
            nn.init.uniform_(parameter, -(hidden_size**-0.5), hidden_size**-0.5)  # as torch's own layers are
        if horizon is not None:
            for layer, of_state in zip(input_layers, state_layers, strict=True):
                with torch.no_grad():
                    self.remember_for(torch.empty(hidden_size).uniform_(1.0, horizon - 1.0), layer.bias, of_state.bias)

    @abstractmethod
    def remember_for(self, steps: Tensor, bias: Tensor, state_bias: Tensor) -> None:
        """Set the biases of the gates so that the units remember for these steps, ``[hidden_size]``."""

    @abstractmethod
    def cell(self, from_input: Tensor, layer: int, state: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The next vectors of a layer, ``[*B, hidden_size]`` each.

        Args:
            from_input: what its linear layer makes of its input, ``[*B, gates · hidden_size]``.
            layer: its number.
            state: its vectors.
        """

    def step(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        out, states = self.over_time(inputs.unsqueeze(-2), state, None)
        return out.squeeze(-2), states.squeeze(-2)

    def over_time(self, inputs: Tensor, state: Tensor, is_first: Tensor | None) -> tuple[Tensor, Tensor]:
        """A pass over T steps; :meth:`Memory.over_time` says how. The products with inputs are one for all steps."""
        kept = None if is_first is None else (~is_first).unsqueeze(-1).to(inputs.dtype).unbind(-2)
        parts = state.unflatten(-1, (len(self.norms), self.states_per_layer, self.hidden_size))
        every: list[Tensor] = []
        for number, (layer, norm) in enumerate(zip(self.input_layers, self.norms, strict=True)):
            vectors: Sequence[Tensor] = parts[..., number, :, :].unbind(-2)
            steps = []
            for t, from_input in enumerate(layer(inputs).unbind(-2)):
                begun = vectors if kept is None else [vector * kept[t] for vector in vectors]
                vectors = self.cell(from_input, number, begun)
                steps.append(vectors)
            columns = [torch.stack(column, -2) for column in zip(*steps, strict=True)]  # [*B, T, hidden_size] each
            every += columns
            inputs = norm(columns[0])
        return inputs, torch.cat(every, -1)

    def over_episode(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """A pass over T steps of one episode, in one call of torch for each layer unless it is traced."""
        if not is_readable(inputs):
            features, states = self.over_time(inputs, state, None)
            return features, states[..., -1, :]
        parts = state.flatten(0, -2).unflatten(-1, (len(self.norms), self.states_per_layer, self.hidden_size))
        features, last = inputs.reshape(-1, *inputs.shape[-2:]), []
        layers: Any = zip(self.input_layers, self.state_layers, self.norms, strict=True)
        for number, (layer, of_state, norm) in enumerate(layers):
            weights: list[Tensor] = [layer.weight, of_state.weight, layer.bias, of_state.bias]
            begun = [vector.unsqueeze(0).contiguous() for vector in parts[:, number].unbind(1)]
            features, *vectors = self.fused(features, begun, weights)
            features, last = norm(features), last + [vector.squeeze(0) for vector in vectors]
        return features.view(*inputs.shape[:-1], self.hidden_size), torch.cat(last, -1).view(state.shape)

    @abstractmethod
    def fused(self, inputs: Tensor, state: list[Tensor], weights: list[Tensor]) -> tuple[Tensor, ...]:
        """One layer over T steps, by torch: ``[k, T, …]`` → ``[k, T, hidden_size]``, and its last vectors."""


class LSTM(RecurrentLayers):
    """Long short-term memory. See "Long Short-Term Memory", Hochreiter and Schmidhuber, 1997, with the forget gates of
    "Learning to Forget", Gers et al., 2000.

    The arguments are those of :class:`RecurrentLayers`.

    >>> memory = LSTM(8, 2, hidden_size=4)
    >>> features, state = memory.step(torch.zeros(3, 8), memory.initial_state([3]))
    >>> features.shape, state.shape
    (torch.Size([3, 4]), torch.Size([3, 8]))
    """

    states_per_layer, gates = 2, 4

    def remember_for(self, steps: Tensor, bias: Tensor, state_bias: Tensor) -> None:
        size = self.hidden_size
        state_bias[: 2 * size] = 0.0
        bias[:size], bias[size : 2 * size] = -steps.log(), steps.log()

    def cell(self, from_input: Tensor, layer: int, state: Sequence[Tensor]) -> tuple[Tensor, ...]:
        out, kept = state
        write, keep, new, read = (from_input + self.state_layers[layer](out)).chunk(4, -1)
        kept = keep.sigmoid() * kept + write.sigmoid() * new.tanh()
        return read.sigmoid() * kept.tanh(), kept

    def fused(self, inputs: Tensor, state: list[Tensor], weights: list[Tensor]) -> tuple[Tensor, ...]:
        return torch.lstm(inputs, state, weights, True, 1, 0.0, self.training, False, True)


class GRU(RecurrentLayers):
    """Gated recurrent units. See "Learning Phrase Representations using RNN Encoder–Decoder for Statistical Machine
    Translation", Cho et al., 2014, equations 5 to 8.

    The arguments are those of :class:`RecurrentLayers`.

    >>> GRU(8, 2, hidden_size=4, num_layers=2).state_size
    8
    """

    states_per_layer, gates = 1, 3

    def remember_for(self, steps: Tensor, bias: Tensor, state_bias: Tensor) -> None:
        keep = slice(self.hidden_size, 2 * self.hidden_size)
        state_bias[keep], bias[keep] = 0.0, steps.log()

    def cell(self, from_input: Tensor, layer: int, state: Sequence[Tensor]) -> tuple[Tensor, ...]:
        (out,) = state
        reset, keep, new = from_input.chunk(3, -1)
        own_reset, own_keep, own_new = self.state_layers[layer](out).chunk(3, -1)
        keep = (keep + own_keep).sigmoid()
        new = (new + (reset + own_reset).sigmoid() * own_new).tanh()
        return ((1 - keep) * new + keep * out,)

    def fused(self, inputs: Tensor, state: list[Tensor], weights: list[Tensor]) -> tuple[Tensor, ...]:
        return torch.gru(inputs, state[0], weights, True, 1, 0.0, self.training, False, True)
