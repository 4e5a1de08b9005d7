"""The training loop: collect, learn, and at every multiple of a cadence log, evaluate and save."""

import os
import time
from collections import deque
from copy import deepcopy
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from qframe.data.replay import ReplayBuffer
from qframe.modules.networks.adapters import TrainedNetwork
from qframe.runner.checkpoint import Checkpoints, load_checkpoint
from qframe.runner.collector import Collector
from qframe.runner.evaluation import Evaluation, EvaluationResult
from qframe.runner.learner import Learner
from qframe.runner.logger import Logger
from qframe.runner.progress import Report, SilentReport
from qframe.runner.run_folder import RunFolder
from qframe.runner.signals import Stopped, StopSignals


class Runner:
    """Trains to ``total_frames`` frames, environment steps summed over environments.

    Args:
        collector: acts.
        learner: learns.
        replay: between them.
        evaluation: greedy episodes.
        checkpoints: last and best.
        logger: metrics.
        folder: the run's folder.
        report: what is shown meanwhile.
        seed: the run's seed, for the summary.
        total_frames: frames to train for.
        learning_starts: frames before the first update.
        every: frames between rounds of updates.
        updates: updates in a round.
        threads: torch's threads on the CPU; small networks are fastest with one.
        hyperparameters: what the HParams tab shows of the config.
        started: when the process or job started, on ``time.monotonic``'s clock.

    Raises:
        ValueError: a number out of range.
    """

    def __init__(
        self,
        *,
        collector: Collector,
        learner: Learner,
        replay: ReplayBuffer,
        evaluation: Evaluation,
        checkpoints: Checkpoints,
        logger: Logger,
        folder: RunFolder,
        total_frames: int,
        learning_starts: int,
        every: int,
        updates: int,
        threads: int = 1,
        seed: int = 0,
        report: Report | None = None,
        hyperparameters: dict[str, Any] | None = None,
        started: float | None = None,
    ) -> None:
        check_numbers(total_frames, learning_starts=learning_starts, every=every, updates=updates, threads=threads)
        self.collector, self.learner, self.replay = collector, learner, replay
        self.evaluation, self.checkpoints, self.logger, self.folder = evaluation, checkpoints, logger, folder
        self.total_frames, self.learning_starts = total_frames, learning_starts
        self.every, self.updates, self.threads = every, updates, threads
        self.report = report or SilentReport()
        self.frames = 0
        self._seed, self._hyperparameters = seed, hyperparameters or {}
        self._started = time.monotonic() if started is None else started
        self._resumed_at: int | None = None
        self._recent_returns: deque[float] = deque(maxlen=100)
        self._best: dict[str, Any] = {"frames": 0, "eval_return": float("-inf")}
        self._earlier_seconds = 0.0
        self._mark = (time.monotonic(), 0)

    @property
    def network(self) -> TrainedNetwork:
        """The online network."""
        return cast(TrainedNetwork, self.learner.loss.value_network)

    def run(self) -> dict[str, Any]:
        """Train to the end and evaluate.

        Returns:
            The summary, as written to ``summary.json``.

        Raises:
            Stopped: a signal came; a checkpoint is written.
        """
        torch.set_num_threads(self.threads)
        self.folder.write_summary({"status": "running", "seed": self._seed})
        self.logger.open(self.folder.metrics, resume_at=self._resumed_at)
        self.report.start(self.frames, self.total_frames)
        if not self.collector.envs.has_episode_seeds:
            self.report.say("these environments reset themselves: one seed for all, none for an episode of its own")
        self._mark = (time.monotonic(), self.frames)
        try:
            with StopSignals() as signals:
                while self.frames < self.total_frames and signals.received is None:
                    self._advance()
            if signals.received is not None:
                self._stop(signals.received)
            return self._finish()
        except Stopped:
            raise
        except Exception as error:
            self.folder.write_summary({"status": "failed", "error": repr(error), **self._progress()})
            raise
        finally:
            self.report.stop()
            self.logger.close()
            self.collector.close()

    def _advance(self) -> None:
        """One step of every environment, and all that is due after it."""
        before = self.frames
        transitions = self.collector.collect()
        self.replay.extend(transitions)
        self.frames += len(transitions)
        self.learner.anneal(self.frames / self.total_frames)
        is_first = not self.learner.updates
        for _ in range(self._rounds(self.frames) * self.updates - self._rounds(before) * self.updates):
            self.learner.update()
        if is_first and self.learner.batch_shape is not None:
            self.report.say(f"{self.frames:>10,} frames  learning starts, batches {_layout(self.learner.batch_shape)}")
        for cadence, act in (
            (self.logger.every, self._log),
            (self.evaluation.every, self._evaluate),
            (self.checkpoints.every, self._save),
        ):
            if self.frames // cadence > before // cadence:
                act()

    def _rounds(self, frames: int) -> int:
        """How many rounds of updates are due by this frame."""
        return max(0, frames - self.learning_starts) // self.every

    def _log(self) -> None:
        now, (then, frames_then) = time.monotonic(), self._mark
        frames_per_second = (self.frames - frames_then) / max(now - then, 1e-9)
        self._mark = (now, self.frames)
        returns, lengths = self.collector.statistics.take()
        self._recent_returns.extend(returns)
        values = {
            "time/frames_per_second": frames_per_second,
            "time/wall_seconds": self._wall_seconds(),
            "time/updates": self.learner.updates,
            "replay/size": len(self.replay),
            "train/learning_rate": self.learner.optimizer.lr,
        } | self.learner.take_metrics()
        values |= {f"exploration/{name}": value for name, value in self.collector.exploration.metrics.items()}
        if returns:
            values |= {"train/episode_return": float(np.mean(returns)), "train/episode_length": float(np.mean(lengths))}
        self.logger.log(self.frames, values)
        if (returns := self.collector.returns) is not None and (warning := returns.warning()) is not None:
            self.report.say(f"{self.frames:>10,} frames  {warning}")
        self.report.update(self.frames, frames_per_second=frames_per_second, episode_return=self._train_return())

    def _evaluate(self) -> None:
        result = self.evaluation.periodic(self.network, frames=self.frames)
        values = {"eval/episode_return": result.mean, "eval/episode_length": float(np.mean(result.lengths))}
        self.logger.log(self.frames, values | {"time/wall_seconds": self._wall_seconds()})
        is_best = result.mean >= self._best["eval_return"]
        if is_best:
            self._best = {"frames": self.frames, "eval_return": result.mean}
            self.checkpoints.save(self.folder.best_checkpoint, {"network": self.network.state_dict(), **self._best})
        self.report.say(
            f"{self.frames:>10,} frames  evaluation {result.mean:.1f} ± {result.std:.1f} "
            f"over {len(result.returns)} episodes{'  (best so far)' if is_best else ''}"
        )

    def _save(self) -> None:
        self.checkpoints.save(self.folder.last_checkpoint, self.state_dict())

    def _stop(self, signal: int) -> None:
        """A signal came: save, say how to go on, and leave."""
        self._save()
        self.folder.write_summary({"status": "stopped", **self._progress()})
        go_on = f"qframe resume {_shown(self.folder.path)}"
        raise Stopped(signal, f"stopped at {self.frames:,} frames with a checkpoint; go on with: {go_on}")

    def _finish(self) -> dict[str, Any]:
        """Save, evaluate the best and the last network on the same fresh seeds, and sum up."""
        progress = self._progress()
        if self._mark[1] < self.frames:
            self._log()
        self._save()
        best = last = self.evaluation.final(self.network)
        if not self._best["frames"]:  # the run ended before its first evaluation
            self._best["frames"] = self.frames
        else:
            network = deepcopy(self.network)
            network.load_state_dict(load_checkpoint(self.folder.best_checkpoint)["network"])
            best = self.evaluation.final(network)
        summary = {"status": "finished", **progress, **_outcome(best, last), "best_frames": self._best["frames"]}
        self.logger.log_hyperparameters(self._hyperparameters, summary)
        self.folder.write_summary(summary)
        self._tell(summary)
        return summary

    def _tell(self, summary: dict[str, Any]) -> None:
        """The result, where it is, and how to look at it."""
        self.report.stop()
        self.report.say(
            f"eval_return_mean {summary['eval_return_mean']:.1f} ± {summary['eval_return_std']:.1f} over "
            f"{summary['eval_episodes']} greedy episodes on fresh seeds "
            f"(best network, of {summary['best_frames']:,} frames; last network {summary['eval_return_last']:.1f})"
        )
        self.report.say(
            f"{summary['frames']:,} frames and {summary['updates']:,} updates in {summary['wall_seconds']:.1f} s"
        )
        self.report.say(f"run folder   {_shown(self.folder.path)}")
        if self.logger.tensorboard:
            self.report.say(f"TensorBoard  tensorboard --logdir {_shown(self.folder.path)}")

    def _progress(self) -> dict[str, Any]:
        """What the summary knows before the final evaluation."""
        seconds = self._wall_seconds()
        return {
            "seed": self._seed,
            "frames": self.frames,
            "updates": self.learner.updates,
            "wall_seconds": seconds,
            "frames_per_second": round(self.frames / seconds, 1),
            "train_return_mean": self._train_return(),
        }

    def _wall_seconds(self) -> float:
        return round(self._earlier_seconds + time.monotonic() - self._started, 3)

    def _train_return(self) -> float | None:
        """The mean return of the last 100 training episodes."""
        return float(np.mean(self._recent_returns)) if self._recent_returns else None

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run goes on from."""
        return {
            "frames": self.frames,
            "seconds": self._progress()["wall_seconds"],
            "recent_returns": list(self._recent_returns),
            "best": self._best,
            "collector": self.collector.state_dict(),
            "learner": self.learner.state_dict(),
            "replay": self.replay.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from ``state``: the running episodes are abandoned, and new ones start."""
        self.frames = self._resumed_at = state["frames"]
        self._earlier_seconds = state["seconds"]
        self._recent_returns.extend(state["recent_returns"])
        self._best = state["best"]
        self.collector.load_state_dict(state["collector"])
        self.learner.load_state_dict(state["learner"])
        self.replay.load_state_dict(state["replay"])
        self.replay.flush()


def check_numbers(
    total_frames: int, *, learning_starts: int = 0, every: int = 1, updates: int = 1, threads: int = 1
) -> None:
    """What a runner is told is in range.

    Raises:
        ValueError: a number out of range.
    """
    given = {"total_frames": total_frames, "every": every, "updates": updates, "threads": threads}
    for name, number, least in (*((n, v, 1) for n, v in given.items()), ("learning_starts", learning_starts, 0)):
        if number < least:
            raise ValueError(f"expected {name} of at least {least}, got {number}")
    if threads > (most := max(64, os.cpu_count() or 1)):  # thousands crash the process
        raise ValueError(f"expected threads of at most {most}, got {threads}")


def _layout(shape: torch.Size) -> str:
    """The shape of a batch with its dimensions' names."""
    return f"{'[B, T]' if len(shape) == 2 else '[B]'} = {list(shape)}"


def _shown(path: Path) -> Path:
    """A path as a user in the current folder would type it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _outcome(best: EvaluationResult, last: EvaluationResult) -> dict[str, Any]:
    return {
        "eval_return_mean": best.mean,
        "eval_return_std": best.std,
        "eval_return_last": last.mean,
        "eval_episodes": len(best.returns),
    }
