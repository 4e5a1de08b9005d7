"""The score in a preset's comment: read, checked, and told where it lacks something."""

import pytest

from qframe.config.score import Score, stated

TEXT = """# @package _global_
# DQN on CartPole-v1
# score:
#   algorithm: DQN
#   expected: 490 # at least
#   metric: eval_return_mean
#   protocol: greedy
#   seeds: 10
#   source: {name: a paper, score: 500.0, protocol: 1 run}
# and another remark
name: cartpole
score: {this: is no comment}
"""


def test_the_block_is_read_and_ends_where_it_is_no_longer_indented():
    source = {"name": "a paper", "score": 500.0, "protocol": "1 run"}
    assert stated(TEXT) == Score("DQN", 490.0, "eval_return_mean", "greedy", 10, source)


def test_a_score_may_have_no_source():
    assert stated(TEXT.replace("#   source", "# source")).source == {}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("# score:", "# Score:", "expected a score in the comment at the preset's head, got none"),
        ("#   algorithm: DQN\n", "", "with the keys algorithm, expected, .* got expected, metric"),
        ("#   seeds:", "#   seed:", "got algorithm, expected, metric, protocol, seed, source"),
        ("490", "many", "expected score.expected to be a number, got 'many'"),
        ("seeds: 10", "seeds: 1.5", "expected score.seeds to be an integer, got 1.5"),
        ("DQN\n#   exp", "[DQN\n#   exp", "expected a score in YAML, got another text"),
        ("eval_return_mean", "loss", "expected score.metric to be one of eval_return_mean, .* got 'loss'"),
    ],
)
def test_what_is_wrong_is_told(old, new, message):
    with pytest.raises(ValueError, match=message):
        stated(TEXT.replace(old, new, 1))
