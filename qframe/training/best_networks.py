"""The networks with the best periodic evaluations of a run, which are judged again at its end."""

from typing import Any, NamedTuple

from torch import Tensor


class Candidate(NamedTuple):
    """A network that may be the best of its run."""

    frames: int
    """Frames that it was trained for."""
    eval_return: float
    """The mean return of its periodic evaluation; NaN if it had none."""
    network: dict[str, Tensor]
    """Its parameters."""


class BestNetworks:
    """Copies of the networks with the best periodic evaluations, best first; of equal ones, the earlier is first.

    One evaluation of a few episodes favours lucky networks, so several are kept and judged by more episodes at the end.

    Args:
        number: of networks kept.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self.candidates: list[Candidate] = []

    def add(self, frames: int, eval_return: float, network: dict[str, Tensor]) -> bool:
        """Keep a copy of a network's parameters, if it is among the best.

        Returns:
            Whether its evaluation is better than all earlier ones.
        """
        place = sum(candidate.eval_return >= eval_return for candidate in self.candidates)
        if place < self._number:
            copy = {name: value.detach().clone() for name, value in network.items()}
            self.candidates.insert(place, Candidate(frames, eval_return, copy))
            del self.candidates[self._number :]
        return place == 0

    def state_dict(self) -> dict[str, Any]:
        """The networks, and the frames of the first one; 0 before the first evaluation."""
        frames = self.candidates[0].frames if self.candidates else 0
        return {"frames": frames, "candidates": [candidate._asdict() for candidate in self.candidates]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from ``state``."""
        self.candidates = [Candidate(**saved) for saved in state["candidates"]][: self._number]
