"""The training loop: collect, learn, log, evaluate, save."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import numpy as np
import torch

from qframe.checkpoints.save import Checkpoints
from qframe.errors import Stopped
from qframe.formatting import format_command
from qframe.loggers.console import Report, format_shape, seed_notes
from qframe.loggers.logger import Logger
from qframe.machine.generators import GlobalGenerators
from qframe.machine.ranks import Ranks, agreed
from qframe.networks.protocol import TrainedNetwork
from qframe.optimizer.nonfinite import check_finite
from qframe.replay import Replay
from qframe.runs.folder import RunFolder
from qframe.training.best_networks import BestNetworks
from qframe.training.callback import Callback, Callbacks
from qframe.training.clock import Clock
from qframe.training.early_stop import EarlyStop
from qframe.training.episode_statistics import InfoNotes, RecentEpisodes
from qframe.training.evaluation import Evaluation, EvaluationResult
from qframe.training.learner import Learner
from qframe.training.learner_ranks import Union, merged
from qframe.training.metrics import format_actors, training_metrics
from qframe.training.protocol import CollectorProtocol
from qframe.training.reward import RewardScale
from qframe.training.schedule import Schedule
from qframe.training.signals import Interrupted, SharedSignals, StopSignals, kill_children
from qframe.training.summary import Summary, final_scores, progress_entries, report_result
from qframe.training.video import Films


class Runner:
    """Trains to ``total_frames`` frames: environment steps, summed over environments.

    Args:
        collector: steps the environments.
        learner: updates the network.
        replay: stores the transitions.
        evaluation: plays the evaluated episodes.
        checkpoints: writes the checkpoints.
        logger: writes the metrics.
        folder: the run's folder.
        total_frames: frames to train for.
        learning_starts: frames before the first update.
        every: frames between rounds of updates.
        updates: updates in a round.
        threads: torch's threads on the CPU; small networks are fastest with one.
        stop: may end the run before its last frame; None never does.
        callbacks: objects or classes whose methods are called during the run.
        seed: the run's seed, for the summary.
        report: prints the progress; None prints nothing.
        ranks: the processes that learn together, of which this is one; None: it learns alone. All of them run the same
            loop, and rank 0 alone evaluates, prints and writes.
        started: when the process or job started, on ``time.monotonic``'s clock.

    Raises:
        ValueError: a number out of range.
    """

    def __init__(
        self,
        *,
        collector: CollectorProtocol,
        learner: Learner,
        replay: Replay,
        evaluation: Evaluation,
        checkpoints: Checkpoints,
        logger: Logger,
        folder: RunFolder,
        total_frames: int,
        learning_starts: int,
        every: int,
        updates: int,
        threads: int = 1,
        stop: EarlyStop | None = None,
        callbacks: Sequence[Callback | type[Callback]] = (),
        seed: int = 0,
        report: Report | None = None,
        ranks: Ranks | None = None,
        started: float | None = None,
    ) -> None:
        check_numbers(total_frames, threads=threads)
        self.collector, self.learner, self.replay = collector, learner, replay
        self.evaluation, self.checkpoints, self.folder = evaluation, checkpoints, folder
        self.logger, self.report = logger, report or Report()
        self.films = Films(evaluation, folder.videos, logger, self.report)
        intervals = {"log": logger.every, "evaluate": evaluation.every, "save": checkpoints.every}
        self.schedule = Schedule(learning_starts=learning_starts, every=every, updates=updates, intervals=intervals)
        self.total_frames, self.threads = total_frames, threads
        self.stop = stop or EarlyStop()
        self.summary, self.clock = Summary(folder, seed), Clock(started)
        self.episodes, self.best = RecentEpisodes(), BestNetworks(evaluation.candidates)
        self.infos = InfoNotes(collector.envs.log_info)
        self.reward_scale = RewardScale(learner.loss.gamma)
        self.ranks, self.callbacks = ranks, Callbacks(callbacks, self)
        self.checkpoints.ranks = ranks
        signals = SharedSignals()
        self.signals: StopSignals = StopSignals() if ranks is None else signals
        self._union = None if ranks is None else Union(ranks, collector.envs.num_envs, signals)
        self._is_compiled = False
        self._resumed: dict[str, Any] | None = None  # the logger's state in the checkpoint that the run resumes from
        self._saved: tuple[object, ...] | None = None  # the position of the last checkpoint

    @property
    def frames(self) -> int:
        """The frames so far."""
        return self.schedule.frames

    @property
    def network(self) -> TrainedNetwork:
        """The online network."""
        return self.learner.network

    def run(self) -> dict[str, Any]:
        """Train to the end, and evaluate the best and the last network.

        Returns:
            The summary, as written to ``summary.json``.

        Raises:
            Stopped: a signal was received; a checkpoint is written.
        """
        self.folder.lock.acquire()
        is_whole = False
        try:
            with self.signals, self._stopping():
                self._open()
                self.train(self.total_frames)
                is_whole = True
                summary = self._finish()
        except Stopped:
            is_whole = not self.signals.is_lost
            raise
        except BaseException as error:
            self.summary.write_failed(error, self._progress(), self.checkpoints.last(self.folder.checkpoints))
            raise
        finally:
            self.report.stop()
            self.logger.close()
            if self.signals.is_lost:
                kill_children()
            else:
                self.collector.close()
            if self.ranks is not None:
                self.ranks.close(is_whole=is_whole)
            self.folder.lock.release()
        self.callbacks.call("end", summary)  # after all else, so that a failure leaves the run finished
        return summary

    @contextmanager
    def _stopping(self) -> Iterator[None]:
        """Save and raise ``Stopped`` after a signal."""
        try:
            yield
            return
        except Interrupted:
            pass
        except Exception:  # a signal reaches a whole process group: the environments' processes may have ended
            if not self.signals.has_any():
                raise
            self.signals.is_lost = True
        raise self._stopped()

    def train(self, frames: int) -> None:
        """Collect, learn, log, evaluate and save until ``frames`` frames, or until an early stop.

        Raises:
            Interrupted: a signal was received; ``schedule`` holds the work that is left.
        """
        schedule = self.schedule
        while schedule.has_work or not self._is_over(frames):
            if not schedule.has_work:  # a resumed run may have been stopped in the middle of it
                self._collect()
            if schedule.updates_owed:
                self._learn()
            if "log" in schedule.due:
                self._log()
            if "evaluate" in schedule.due:
                self._evaluate()
            if "save" in schedule.due:
                self._save()
        self.signals.check()

    def _is_over(self, frames: int) -> bool:
        return self.frames >= frames or self.stop.reason is not None

    def _open(self) -> None:
        torch.set_num_threads(self.threads)
        self.summary.write("running")
        self.logger.open(self.folder.metrics_file, report=self.report, resume=self._resumed, frames=self.frames)
        self.report.start(self.frames, self.total_frames, str(self.folder.config.get("name", "")))
        if self._resumed is not None:
            self._say("resumed")
        has_seeds, can_resume = self.collector.envs.has_episode_seeds, self.collector.can_resume()
        for note in seed_notes(has_episode_seeds=has_seeds, can_resume=can_resume):
            self.report.say(note)
        self.callbacks.call("start")
        self.clock.lap(self.frames)

    def _collect(self) -> None:
        """Take one step of every environment, and store it."""
        self.signals.check()
        self.signals.is_stepping = True
        try:
            transitions = self.collector.collect()
        finally:
            self.signals.is_stepping = False
        self.replay.extend(transitions)
        seen = transitions if self._union is None else self._union(transitions)
        if self.learner.support is not None:
            self.learner.support.add(seen)
        if not self.learner.updates:
            following = seen["next"]
            self.reward_scale.add(following["reward"][:, 0].numpy(), int(following["done"].sum()))
        self.schedule.advance(len(seen))
        if self.callbacks:
            self.callbacks.call("step", transitions)
        self.report.step(self.frames)
        self.learner.anneal(self.schedule.frames / self.total_frames)

    def _learn(self) -> None:
        """Take the updates that are due."""
        if not self._is_compiled:
            with self.signals.interruptible() if self.ranks is None else nullcontext():
                self.clock.pause(self.learner.wait(self.report.say))
            self._is_compiled = True
        is_first = not self.learner.updates
        while (owed := self.schedule.updates_owed) and self.signals.received is None:
            self.schedule.updates_owed -= self.learner.learn(owed)  # one, or as many as a compiled graph takes at once
        while self.learner.notes:
            self._say(self.learner.notes.pop(0))
        if is_first and self.learner.batch_shape is not None:
            self._say(f"learning starts, batches {format_shape(self.learner.batch_shape)}")
            if (warning := self.reward_scale.warning()) is not None:
                self._say(f"note: {warning}")
        self.signals.check()

    def _log(self) -> None:
        self.signals.check()
        rate, seconds = self.clock.lap(self.frames), self.clock.wall_seconds
        returns, lengths, infos = self.collector.take_episodes()
        if self.ranks is not None:
            returns, lengths, infos, seconds = self._of_all(returns, lengths, infos, seconds)
        self.episodes.add(returns, lengths)
        self.evaluation.longest_episode = self.episodes.longest
        times = {"time/frames_per_second": rate}
        if "evaluate" not in self.schedule.due and self.stop.evaluated_at != self.frames:  # which logs them
            times["time/wall_seconds"] = seconds
        metrics = training_metrics(self.collector, self.learner, self.replay, returns, lengths)
        metrics = metrics if self.ranks is None else merged(self.ranks.gather(metrics))
        self.logger.log(self.frames, times | metrics | self._info_means("train", infos))
        if self.learner.support is not None and (warning := self.learner.support.warning()) is not None:
            self._say(warning)
        self.stop.set_seconds(seconds)
        left = max(0, self.total_frames - self.frames) / max(rate, 1e-9) if self.learner.updates else None
        self.report.update(
            self.frames, frames_per_second=rate, seconds_left=left, episode_return=self.episodes.mean_return,
            actors=format_actors(metrics),
        )  # fmt: skip
        self.schedule.done("log")

    def _of_all(self, returns: Any, lengths: Any, infos: Any, seconds: float) -> tuple[Any, Any, Any, float]:
        """The episodes that have ended on all ranks, and the seconds of rank 0."""
        assert self.ranks is not None
        found = self.ranks.gather((returns, lengths, infos, seconds))
        keys = {key: None for _, _, other, _ in found for key in other}
        joined = {key: [value for _, _, other, _ in found for value in other.get(key, [])] for key in keys}
        returns = [value for each, _, _, _ in found for value in each]
        return returns, [value for _, each, _, _ in found for value in each], joined, found[0][3]

    def _play(self) -> EvaluationResult:
        with self.signals.interruptible(), self.clock.evaluating():
            result = self.evaluation.periodic(self.network, frames=self.frames, progress=self.report.evaluating)
            self.films.take(self.network, self.frames)
        return result

    def _play_on_first(self, ranks: Ranks) -> EvaluationResult:
        """The evaluation of rank 0, for which the others wait."""
        result = None
        with suppress(Interrupted):
            result = self._play() if ranks.is_first else None
            result = result and result._replace(infos=dict(result.infos))
        result, self.signals.received = ranks.from_first((result, self.signals.received))
        self.signals.check()
        assert result is not None
        return result

    def _evaluate(self) -> None:
        result = self._play() if self.ranks is None else self._play_on_first(self.ranks)
        values = {"eval/episode_return": result.mean, "eval/episode_length": float(np.mean(result.lengths))}
        values |= self._info_means("eval", result.infos)
        self.logger.log(self.frames, values | {"time/wall_seconds": self.clock.wall_seconds})
        self.logger.log_network(self.frames, self.network)
        self.stop.add_evaluation(self.frames, result.mean)
        is_best = self.best.add(self.frames, result.mean, self.network.state_dict())
        self.report.evaluated(result.mean)
        self._say(f"{result}{'  (best so far)' if is_best else ''}")
        if (warning := self.infos.missing(self.evaluation.info_keys)) is not None:
            self._say(f"warning: {warning}")
        self.callbacks.call("evaluation", result)
        self.schedule.done("evaluate")

    def _info_means(self, group: str, infos: Mapping[str, list[float]]) -> dict[str, float]:
        if (note := self.infos.odd(infos)) is not None:
            self._say(f"note: {note}")
        return self.infos.means(infos, group)

    def _save(self) -> None:
        """Write a checkpoint, unless the last one has this position; the one at the end comes after a last log."""
        if self._is_over(self.total_frames) and self.schedule.logged < self.frames:
            self._log()
        self.signals.check()
        self.schedule.done("save")
        self._write_checkpoint()

    def _write_checkpoint(self) -> None:
        if self._saved == (position := self._position()):
            return
        check_finite(self.learner.loss, self.learner.updates)
        if not agreed(self.ranks, self.collector.can_resume()):
            self.collector.abandon_episodes()
            self._end_episodes()
        self.callbacks.call("save")
        self.logger.flush()
        saved = self.checkpoints.save(self.folder.checkpoints, self.frames, self.state_dict())
        self._saved = position
        self._say(f"checkpoint saved, {saved}")

    def _end_episodes(self) -> None:
        """End the running episodes, which the collector has abandoned, for the replay and the range of returns."""
        self.replay.flush()
        if self.learner.support is not None:
            self.learner.support.returns.abandon()

    def _position(self) -> tuple[object, ...]:
        """How far the run has come: equal positions have equal checkpoints."""
        return self.frames, self.schedule.updates_owed, tuple(self.schedule.due), self.schedule.logged

    def _stopped(self) -> Stopped:
        """Save after a signal, unless a step was lost, and return the exception that says how to resume."""
        assert self.signals.received is not None
        if self.signals.is_lost:
            kept = "the environments did not complete their step, so progress since the last checkpoint is lost"
        else:
            self._write_checkpoint()
            kept = f"stopped at {self.frames:,} frames with a checkpoint"
        self.summary.write("stopped", self._progress())
        command = format_command("qframe", "resume", self.folder.path)
        return Stopped(self.signals.received, f"{kept}; resume with: {command}")

    def _finish(self) -> dict[str, Any]:
        """Save, evaluate the best and the last network on the same fresh seeds, and write the summary."""
        self._save()
        reached = self._progress()
        if self.ranks is not None and not self.ranks.is_first:
            return reached
        with self.signals.interruptible(), self.clock.evaluating():
            progress = self.report.evaluating
            scores = final_scores(
                self.evaluation, self.network, self.best, self.films, frames=self.frames, progress=progress
            )
        evaluating, seconds = round(self.clock.evaluation_seconds, 3), self.clock.wall_seconds
        scores |= {"evaluation_seconds": evaluating, "total_seconds": seconds}
        reason = {} if self.stop.reason is None else {"reason": self.stop.reason}
        summary = self.summary.write("finished", reached | scores | reason)
        self.logger.finish(summary)
        board = self.logger.tensorboard
        report_result(self.report, summary, self.folder.path, total_frames=self.total_frames, tensorboard=board)
        return summary

    def _say(self, text: str) -> None:
        self.report.say(f"{self.frames:>10,} frames  {text}")

    def _progress(self) -> dict[str, Any]:
        return progress_entries(self.frames, self.learner.updates, self.clock.wall_seconds, self.episodes.mean_return)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the run resumes from."""
        return {
            "run": {
                "ranks": 1 if self.ranks is None else self.ranks.size,
                **self.schedule.state_dict(),
                **self.clock.state_dict(),
                "episodes": self.episodes.state_dict(),
                "infos": self.infos.state_dict(),
                "callbacks": self.callbacks.state_dict(),
                "reward_scale": self.reward_scale.state_dict(),
                "logger": self.logger.state_dict(),
                "stop": self.stop.state_dict(),
                "generators": GlobalGenerators.capture().state_dict(),
            },
            "best": self.best.state_dict(),
            "collector": self.collector.state_dict(),
            "learner": self.learner.state_dict(),
            "replay": self.replay.state_dict(live=True),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from ``state``: the running episodes are replayed, and abandoned if they differ."""
        run = state["run"]
        self.checkpoints.resume_from(state["name"])
        self.schedule.load_state_dict(run)
        self.clock.load_state_dict(run)
        self.episodes.load_state_dict(run["episodes"])
        self.reward_scale.load_state_dict(run["reward_scale"])
        self.evaluation.longest_episode = self.episodes.longest
        self.best.load_state_dict(state["best"])
        self.stop.load_state_dict(run["stop"])
        self._resumed = run["logger"]
        self.collector.load_state_dict(state["collector"])
        self.learner.load_state_dict(state["learner"])
        self.replay.load_state_dict(state["replay"])
        is_same = self.collector.resume_episodes(state["collector"]["running"])
        if agreed(self.ranks, is_same):
            self._saved = self._position() if (self.folder.checkpoints / state["name"]).is_dir() else None
        if not is_same:
            self._end_episodes()
            self.report.say("note: the replayed episodes differ from the saved ones, so new ones start instead")
        for name in self.callbacks.load_state_dict(run.get("callbacks", [])):
            self.report.say(f"note: the checkpoint has a state of the callback {name}, which this run leaves out")
        if "infos" in run:  # these two are not in checkpoints of earlier versions
            self.infos.load_state_dict(run["infos"])
        if "generators" in run:
            GlobalGenerators.of_state_dict(run["generators"]).restore()


def check_numbers(total_frames: int, *, threads: int = 1) -> None:
    """Check ``total_frames`` and ``threads``.

    Raises:
        ValueError: a number out of range.
    """
    for name, number in (("total_frames", total_frames), ("threads", threads)):
        if number < 1:
            raise ValueError(f"expected {name} of at least 1, got {number}")
    if threads > (most := max(64, os.cpu_count() or 1)):  # thousands crash the process
        raise ValueError(f"expected threads of at most {most}, got {threads}")
