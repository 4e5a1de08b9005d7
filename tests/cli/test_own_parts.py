"""A stranger's head and estimator: two new files each, none edited, trained from the command line."""

import json

import pytest

from qframe.cli.main import main

HEAD = '''
from qframe.functional.backup import Law
from qframe.heads import Head


class ExpectileHead(Head):
    """Three expectiles per action."""

    def __init__(self, features, num_actions, *, spread: float):
        super().__init__(features, num_actions, num_outputs=3)
        self.levels = (0.5 - spread, 0.5, 0.5 + spread)

    def law(self, prediction):
        return Law(prediction.out, prediction.out.new_full(prediction.out.shape, 1 / 3))

    def project(self, law):
        return law.mean

    def loss(self, prediction, target):
        error = target.unsqueeze(-1) - prediction.out
        level = error.new_tensor(self.levels)
        loss = (level - (error < 0).to(error.dtype)).abs() * error.square()
        return loss.sum(-1), target - prediction.out.mean(-1)
'''

ESTIMATOR = '''
from qframe.functional.action import soft
from qframe.functional.backup import Backup
from qframe.estimators import Bootstrap


class SoftBootstrap:
    """Bootstraps on all actions, each with its probability under a Boltzmann policy."""

    requires = frozenset()

    def __init__(self, *, temperature: float):
        self.temperature = temperature

    def __call__(self, batch, values):
        prob = soft(values.selector, self.temperature, batch.next_mask).prob
        reward, discount = (x.unsqueeze(-1).expand_as(prob) for x in (batch.reward, batch.discount))
        return Bootstrap(None, Backup(reward, discount, prob))
'''

PRIORITIES = '''
import numpy as np
import torch


class RecentFirst:
    """Draws only from the newest rows."""

    bytes_per_row = 0

    def __init__(self, *, num_newest: int):
        self.num_newest = num_newest
        self.rows = []

    def allocate(self, num_rows):
        pass

    def add(self, row):
        self.rows = [*self.rows, *row.tolist()][-self.num_newest :]

    def remove(self, row):
        self.rows = [kept for kept in self.rows if kept not in set(row.tolist())]

    def draw(self, count, generator):
        if not self.rows:
            raise RuntimeError("nothing to draw yet")
        place = torch.randint(len(self.rows), (count,), generator=generator)
        return np.array(self.rows)[place.numpy()], torch.ones(count)

    def update(self, row, td_error):
        assert (td_error >= 0).all()

    def anneal(self, fraction):
        pass

    def settings(self):
        return {"num_newest": self.num_newest}

    def state_dict(self, row):
        return {"rows": list(self.rows)}

    def load_state_dict(self, state, row):
        self.rows = list(state["rows"])
'''


@pytest.mark.parametrize(
    ("module", "code", "group", "yaml", "choices"),
    [
        ("my_heads", HEAD, "head", "_target_: my_heads.ExpectileHead\nspread: 0.3\n", ["network=shared_trunk"]),
        ("my_estimators", ESTIMATOR, "estimator", "_target_: my_estimators.SoftBootstrap\ntemperature: 0.1\n",
         ["head=quantile"]),
        *(
            ("my_priorities", PRIORITIES, "priorities", "_target_: my_priorities.RecentFirst\nnum_newest: 64\n", layout)
            for layout in (["replay=transitions"], ["replay=frames", "replay.stack=1"],
                           ["replay=slices", "estimator=td_lambda"])
        ),
    ],
)  # fmt: skip
def test_a_part_of_ones_own_trains(module, code, group, yaml, choices, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"{module}.py").write_text(code)
    (tmp_path / "my_conf" / group).mkdir(parents=True)
    (tmp_path / "my_conf" / group / "mine.yaml").write_text(f"# my own\n{yaml}")
    sizes = ["total_frames=600", "runner.learning_starts=200", "evaluation.final_episodes=2", "hydra.run.dir=run"]
    words = ["--config-dir", "my_conf", "--trust", module, f"{group}=mine", *choices, *sizes]
    assert main(["train", *words]) == 0, capsys.readouterr().err
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["status"], summary["updates"]) == ("finished", 200)
    assert main(["eval", "run", "--episodes", "2", "--trust", module]) == 0


PROBABILITY = '''
from qframe.estimators import TD0


class Corrected(TD0):
    """Asks for the behaviour policy's probabilities."""

    requires = frozenset({"behaviour_probability"})

    def __call__(self, batch, values):
        assert ((batch.action_probability > 0) & (batch.action_probability <= 1)).all()
        return super().__call__(batch, values)
'''


@pytest.mark.parametrize("exploration", ["epsilon_greedy", "ladder", "boltzmann", "greedy"])
def test_an_estimator_that_reads_action_probabilities_finds_them(exploration, tmp_path, monkeypatch, capsys):
    words = with_probabilities(tmp_path, monkeypatch, exploration)
    sizes = ["total_frames=300", "runner.learning_starts=100", "evaluation.final_episodes=2", "hydra.run.dir=run"]
    assert main(["train", *words, *sizes]) == 0, capsys.readouterr().err


def test_retrace_trains_on_the_probabilities_that_the_collector_stores(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    sizes = ["total_frames=300", "runner.learning_starts=100", "evaluation.final_episodes=2", "hydra.run.dir=run"]
    assert main(["train", "estimator=retrace", "replay=slices", *sizes]) == 0, capsys.readouterr().err
    assert main(["check", "estimator=retrace", "replay=slices", "exploration=ez_greedy"]) == 2
    assert "Retrace needs the probability of each action, which EZGreedy does not know" in capsys.readouterr().err


def test_an_estimator_that_reads_action_probabilities_is_refused_where_there_are_none(tmp_path, monkeypatch, capsys):
    assert main(["check", *with_probabilities(tmp_path, monkeypatch, "ez_greedy")]) == 2
    message = "exploration: Corrected needs the probability of each action, which EZGreedy does not know; use"
    assert message in capsys.readouterr().err


def with_probabilities(folder, monkeypatch, exploration):
    monkeypatch.chdir(folder)
    (folder / "my_corrected.py").write_text(PROBABILITY)
    (folder / "my_conf" / "estimator").mkdir(parents=True)
    (folder / "my_conf" / "estimator" / "mine.yaml").write_text("# my own\n_target_: my_corrected.Corrected\n")
    return ["--config-dir", "my_conf", "--trust", "my_corrected", "estimator=mine", f"exploration={exploration}"]


REPLAY = '''
from qframe.replay import ReplayBuffer


class Uniform(ReplayBuffer):
    """A replay that draws uniformly only."""

    def __init__(self, capacity: int, batch_size: int, *, gamma, num_envs, seed):
        super().__init__(capacity, batch_size, gamma=gamma, num_envs=num_envs, seed=seed)
'''


def test_priorities_for_a_replay_that_takes_none_are_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_replay.py").write_text(REPLAY)
    (tmp_path / "my_conf" / "replay").mkdir(parents=True)
    yaml = "# my own\n_target_: my_replay.Uniform\ncapacity: 1000\nbatch_size: 32\n"
    (tmp_path / "my_conf" / "replay" / "mine.yaml").write_text(yaml)
    words = ["check", "--config-dir", "my_conf", "--trust", "my_replay", "replay=mine"]
    assert main([*words, "priorities=none"]) == 0
    assert main([*words, "priorities=proportional"]) == 2
    assert "priorities: Uniform takes no priorities; use priorities=none" in capsys.readouterr().err
