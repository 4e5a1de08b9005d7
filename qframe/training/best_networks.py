"""The network with the best periodic evaluation of a run."""

from typing import Any

from torch import Tensor


class BestNetwork:
    """A copy of the parameters that scored best; none before the first evaluation."""

    def __init__(self) -> None:
        self.frames, self.eval_return = 0, float("-inf")
        """The frames that it was trained for, and the mean return of its evaluation."""
        self.parameters: dict[str, Tensor] | None = None

    def keep(self, frames: int, eval_return: float, parameters: dict[str, Tensor]) -> bool:
        """Copy the parameters of a network that is at least as good as the best one so far.

        Returns:
            Whether it is.
        """
        is_best = eval_return >= self.eval_return
        if is_best:
            self.frames, self.eval_return = frames, eval_return
            self.parameters = {name: value.detach().clone() for name, value in parameters.items()}
        return is_best

    def state_dict(self) -> dict[str, Any]:
        """The network, if any, and its score."""
        network = {} if self.parameters is None else {"network": self.parameters}
        return {"frames": self.frames, "eval_return": self.eval_return, **network}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from ``state``."""
        self.frames, self.eval_return, self.parameters = state["frames"], state["eval_return"], state.get("network")
