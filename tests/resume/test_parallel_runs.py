"""Runs of two processes: they stop, fail and resume as one."""

import multiprocessing
import os
import signal
from functools import partial

import pytest
import torch
from torch._C._distributed_c10d import FileStore

from qframe.checkpoints import load_checkpoint
from qframe.errors import Stopped
from qframe.machine.ranks import LostRank, Ranks
from qframe.replay import ReplayBuffer
from qframe.training import Callback, ParallelLearner
from qframe.training.reshard import resharded
from tests.runners import CPU, make_runner, prioritized

FRAMES = 400


class At(Callback):
    """Calls a function at a frame of its rank."""

    def __init__(self, frames, act):
        self._frames, self._act = frames, act

    def step(self, run, transitions):
        if run.frames == self._frames:
            self._act()


def train(rank, folder, store, *, acts, checkpoint=None, total=FRAMES):
    """A rank's run; its outcome is written beside the run."""
    torch.set_num_threads(1)
    ranks = Ranks(rank, 2, FileStore(str(store), 2))
    callbacks = [At(*acts[rank])] if rank in acts else []
    runner = make_runner(
        folder if rank == 0 else folder.with_name(f"other-{rank}"), "CartPole-v1", num_envs=2, total_frames=total,
        replay=prioritized(ReplayBuffer), callbacks=callbacks, ranks=ranks, seed=7,
        learner=partial(ParallelLearner, workers=2, ranks=ranks),
    )  # fmt: skip
    if rank:
        runner.collector.envs.number_from(2)
        runner.folder = type(runner.folder)(folder).read_only()
        runner.logger.silence()
    runner.schedule.intervals |= {"log": 100, "save": 200}
    ranks.join(backend="gloo", device=CPU, timeout=20.0)
    if checkpoint is not None:
        runner.load_state_dict(load_checkpoint(folder / "checkpoints", rank=rank, name=checkpoint))
    try:
        runner.run()
        outcome = runner.learner.optimizer.flat.vector.clone()
    except (Stopped, LostRank) as error:
        outcome = (type(error).__name__, str(error))
    torch.save(outcome, folder.with_name(f"{folder.name}-outcome-{rank}.pt"))


def run(folder, acts=None, **options):
    """The outcomes of both ranks; None if it was killed."""
    store = folder.with_name(f"{folder.name}-store-{len(list(folder.parent.iterdir()))}")
    context = multiprocessing.get_context("fork")
    results = [folder.with_name(f"{folder.name}-outcome-{rank}.pt") for rank in range(2)]
    for file in results:
        file.unlink(missing_ok=True)
    processes = [
        context.Process(target=train, args=(rank, folder, store), kwargs={"acts": acts or {}, **options})
        for rank in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode is not None
    return [torch.load(file) if file.is_file() else None for file in results]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run without interruption, and its parameters."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    first, second = run(folder)
    assert torch.equal(first, second)
    return folder, first


def test_a_signal_to_either_rank_stops_both_and_they_resume_to_the_bit(tmp_path, whole):
    folder = tmp_path / "run"
    stopped = run(folder, {1: (300, partial(signal.raise_signal, signal.SIGTERM))})
    assert [kind for kind, _ in stopped] == ["Stopped", "Stopped"]
    newest = sorted(path.name for path in (folder / "checkpoints").iterdir())[-1]
    assert 300 <= int(newest) <= 308
    assert (folder / "checkpoints" / newest / "replay-1.rows.000000.pt").is_file()
    first, second = run(folder, checkpoint=newest)
    assert torch.equal(first, whole[1])
    assert torch.equal(second, whole[1])


def test_a_dead_rank_ends_the_other_which_names_the_last_checkpoint(tmp_path):
    folder = tmp_path / "run"
    outcome = run(folder, {1: (300, partial(os._exit, 9))})
    assert outcome[1] is None
    kind, message = outcome[0]
    assert kind == "LostRank"
    assert "another rank" in message
    assert load_checkpoint(folder / "checkpoints")["run"]["frames"] == 200


def test_a_damaged_page_of_any_rank_is_found_by_the_first(whole):
    folder, _ = whole
    earlier, newest = sorted((folder / "checkpoints").iterdir())
    page = newest / "replay-1.rows.000000.pt"
    page.write_bytes(page.read_bytes()[:-1] + b"?")
    with pytest.warns(UserWarning, match=f"replay-1.rows.000000.pt: the checksum does not match.*using {earlier.name}"):
        assert load_checkpoint(folder / "checkpoints")["name"] == earlier.name


def test_other_ranks_resume_with_networks_and_logs_and_fill_their_replays_again(whole):
    folder, parameters = whole
    earlier = sorted(path.name for path in (folder / "checkpoints").iterdir())[0]
    runner = make_runner(folder, "CartPole-v1", num_envs=4, total_frames=700, replay=prioritized(ReplayBuffer), seed=7)
    state = resharded(runner, folder / "checkpoints", earlier, (0, 1))
    runner.load_state_dict(state)
    frames, updates = runner.frames, runner.learner.updates
    assert updates
    assert not torch.equal(runner.learner.optimizer.flat.vector, parameters)
    assert len(runner.replay) == 0
    runner.train(frames + 100)
    assert runner.learner.updates == updates
    assert min(runner.collector.envs.episode) > 0
    runner.train(frames + 200)
    assert runner.learner.updates == updates + 50
