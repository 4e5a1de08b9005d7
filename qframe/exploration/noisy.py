"""Exploration by the noise of a network's weights alone."""

from qframe.exploration.greedy import Greedy


class NoisyGreedy(Greedy):
    """Takes the action that is greedy under the noise of the network's weights, drawn again at every step.

    The probability of an action over all noise is unknown. See "Noisy Networks for Exploration", Fortunato et al.,
    2018, section 3.1.

    Args:
        action_space: of the environment, or the action's spec.
    """

    has_probability = False
    needs_noisy_network = True
    """A config without noisy layers is refused: nothing would explore."""

    @property
    def metrics(self) -> dict[str, float]:
        """ε, always 0."""
        return {"epsilon": 0.0}
