"""DQN and Rainbow on stacks of frames as a plain torch loop, which ``scripts/cuda.py`` measures qframe beside."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

ACTIONS, ATOMS, V_MIN, V_MAX = 6, 51, -10.0, 10.0
GAMMA, TAU, LR, EPS, ALPHA, BETA = 0.99, 0.005, 1e-4, 1.5e-4, 0.5, 0.5


class Noisy(nn.Module):
    """A linear layer with factorised Gaussian noise on its weights, drawn in every pass."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.mean, self.spread = nn.Linear(inputs, outputs), nn.Linear(inputs, outputs)
        for parameter in self.spread.parameters():
            nn.init.constant_(parameter, 0.5 / math.sqrt(inputs))

    def forward(self, x: Tensor) -> Tensor:
        row, column = (
            noise.sign() * noise.abs().sqrt()
            for noise in (torch.randn(layer, device=x.device) for layer in self.mean.weight.shape)
        )
        weight = self.mean.weight + self.spread.weight * torch.outer(row, column)
        return nn.functional.linear(x, weight, self.mean.bias + self.spread.bias * row)


class Network(nn.Module):
    """The Nature CNN: uint8 ``[B, 4, H, W]`` → values ``[B, A]``, or logits ``[B, A, atoms]`` (dueling, noisy)."""

    def __init__(self, size: int, *, is_rainbow: bool) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(4, 32, 8, 4), nn.ReLU(), nn.Conv2d(32, 64, 4, 2), nn.ReLU(), nn.Conv2d(64, 64, 3, 1), nn.ReLU(),
            nn.Flatten(),
        )  # fmt: skip
        features = self.convolutions(torch.zeros(1, 4, size, size)).shape[1]
        linear = Noisy if is_rainbow else nn.Linear

        def stream(outputs: int) -> nn.Module:
            return nn.Sequential(linear(features, 512), nn.ReLU(), linear(512, outputs))

        self.advantage = stream(ACTIONS * (ATOMS if is_rainbow else 1))
        self.value = stream(ATOMS) if is_rainbow else None

    def forward(self, images: Tensor) -> Tensor:
        features = self.convolutions(images.float() / 255)
        if self.value is None:
            return self.advantage(features)
        advantage = self.advantage(features).unflatten(1, (ACTIONS, ATOMS))
        return self.value(features).unsqueeze(1) + advantage - advantage.mean(1, keepdim=True)


class TorchLoop:
    """A replay on the device, and the update by Adam with a soft target update.

    Args:
        device: of everything.
        size: height and width of a frame, in pixels.
        is_rainbow: double dueling noisy C51 with priorities by the loss; otherwise double DQN, drawn uniformly.
        capacity: of the replay.
        batch_size: of an update.
    """

    def __init__(self, device: torch.device, size: int, *, is_rainbow: bool, capacity: int, batch_size: int) -> None:
        self.is_rainbow, self.capacity, self.batch_size, self.device = is_rainbow, capacity, batch_size, device
        self.online, self.target = (Network(size, is_rainbow=is_rainbow).to(device) for _ in range(2))
        self.target.load_state_dict(self.online.state_dict())
        is_gpu = device.type == "cuda"
        self.adam = torch.optim.Adam(self.online.parameters(), lr=LR, eps=EPS, foreach=True, capturable=is_gpu)
        self.atoms = torch.linspace(V_MIN, V_MAX, ATOMS, device=device)
        frames = (capacity, 4, size, size)
        self.now, self.after = (torch.zeros(frames, dtype=torch.uint8, device=device) for _ in range(2))
        self.action = torch.zeros(capacity, dtype=torch.int64, device=device)
        self.reward, self.terminated, self.priority = (torch.zeros(capacity, device=device) for _ in range(3))
        self.written = torch.zeros((), dtype=torch.int64, device=device)
        self.seen = 0

    def store(self, now: Tensor, action: Tensor, reward: Tensor, terminated: Tensor, after: Tensor) -> None:
        """Keep transitions ``[E, …]``."""
        rows = torch.arange(self.seen, self.seen + len(action), device=self.device) % self.capacity
        self.now[rows], self.after[rows], self.action[rows] = now, after, action
        self.reward[rows], self.terminated[rows] = reward, terminated
        self.priority[rows] = 1.0
        self.seen += len(action)
        self.written.fill_(min(self.seen, self.capacity))

    @torch.no_grad()
    def act(self, images: Tensor) -> Tensor:
        """The greedy actions ``[E]``."""
        return self._values(self.online(images)).argmax(1)

    def update(self) -> None:
        """Draw a batch, take a gradient step, move the target network."""
        if self.is_rainbow:
            sums = self.priority.cumsum(0)
            drawn = torch.rand(self.batch_size, device=self.device) * sums[-1]
            rows = torch.searchsorted(sums, drawn).clamp(max=self.capacity - 1)
            chance = self.priority[rows] / sums[-1]
            weight = (self.written * chance) ** -BETA
            loss = self._distributional(rows)
            self.priority.index_copy_(0, rows, (loss.detach() + 1e-6) ** ALPHA)
            mean = (loss * weight / weight.max()).mean()
        else:
            rows = (torch.rand(self.batch_size, device=self.device) * self.written).long()
            mean = self._squared(rows).mean()
        mean.backward()
        self.adam.step()
        self.adam.zero_grad(set_to_none=False)
        with torch.no_grad():
            for target, online in zip(self.target.parameters(), self.online.parameters(), strict=True):
                target.lerp_(online, TAU)

    def captured(self) -> Callable[[], None]:
        """The update as one CUDA graph."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self.update()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.update()
        return graph.replay

    def _values(self, out: Tensor) -> Tensor:
        return (out.softmax(-1) * self.atoms).sum(-1) if self.is_rainbow else out

    def _squared(self, rows: Tensor) -> Tensor:
        with torch.no_grad():
            best = self.online(self.after[rows]).argmax(1, keepdim=True)
            ahead = self.target(self.after[rows]).gather(1, best)[:, 0]
            goal = self.reward[rows] + GAMMA * (1 - self.terminated[rows]) * ahead
        return (self.online(self.now[rows]).gather(1, self.action[rows].unsqueeze(1))[:, 0] - goal).square()

    def _distributional(self, rows: Tensor) -> Tensor:
        def of(out: Tensor, action: Tensor) -> Tensor:
            return out.gather(1, action.view(-1, 1, 1).expand(-1, 1, ATOMS))[:, 0]

        with torch.no_grad():
            best = self._values(self.online(self.after[rows])).argmax(1)
            ahead = of(self.target(self.after[rows]), best).softmax(1)
            discount = GAMMA * (1 - self.terminated[rows]).unsqueeze(1)
            moved = (self.reward[rows].unsqueeze(1) + discount * self.atoms).clamp(V_MIN, V_MAX)
            near = 1 - (moved.unsqueeze(1) - self.atoms.view(1, -1, 1)).abs() * (ATOMS - 1) / (V_MAX - V_MIN)
            goal = (near.clamp(0, 1) * ahead.unsqueeze(1)).sum(2)
        return -(goal * of(self.online(self.now[rows]), self.action[rows]).log_softmax(1)).sum(1)
