"""Exploration by a network's noise alone."""

from qframe.exploration.greedy import Greedy


class NoisyGreedy(Greedy):
    """Takes the action that is greedy under the noise of the network's weights, drawn anew at every step.

    How likely an action was, over all noise, is not known. See "Noisy Networks for Exploration", Fortunato et al.,
    2018, section 3.1.

    Args:
        action_space: of the environment, or the action's spec.
    """

    has_probability = False
    needs_noisy_network = True
    """Without noisy layers nothing would explore; a config is then refused."""

    @property
    def metrics(self) -> dict[str, float]:
        """ε, always 0."""
        return {"epsilon": 0.0}
