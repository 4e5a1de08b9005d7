"""The training loop: collect, learn, and at every multiple of a cadence log, evaluate and save."""

import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch

from qframe.checkpoints.save import Checkpoints
from qframe.errors import Stopped
from qframe.loggers.console import Report, SilentReport, layout, notes_on_seeds
from qframe.loggers.logger import Logger
from qframe.loggers.unfailing import Unfailing
from qframe.networks.protocol import TrainedNetwork
from qframe.optimizer.nonfinite import check_finite
from qframe.replay import ReplayBuffer
from qframe.runs.folder import RunFolder
from qframe.training.cadences import check_numbers
from qframe.training.collector import Collector
from qframe.training.early_stop import EarlyStop
from qframe.training.evaluation import Evaluation
from qframe.training.learner import Learner
from qframe.training.metrics import of_training
from qframe.training.run_state import Standing
from qframe.training.signals import Interrupted, StopSignals, kill_children
from qframe.training.summary import final_scores, shown, tell, tell_of_error
from qframe.training.video import Films


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
        stop: ends the run before its last frame; None never does.
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
        stop: EarlyStop | None = None,
        seed: int = 0,
        report: Report | None = None,
        started: float | None = None,
    ) -> None:
        check_numbers(total_frames, learning_starts=learning_starts, every=every, updates=updates, threads=threads)
        self.collector, self.learner, self.replay = collector, learner, replay
        self.evaluation, self.checkpoints, self.folder = evaluation, checkpoints, folder
        self.total_frames, self.learning_starts = total_frames, learning_starts
        self.every, self.updates, self.threads = every, updates, threads
        self.report = report or SilentReport()
        self.logger = cast(Logger, Unfailing(logger, self.report))
        films = Films(evaluation, folder.videos, self.logger)
        self.films = cast(Films, Unfailing(films, self.report, "a film could not be made"))
        self.frames = 0
        self.standing = Standing(seed, time.monotonic() if started is None else started)
        self.stop = stop or EarlyStop()
        self.signals = StopSignals()
        self._resumed: dict[str, Any] | None = None
        self._owed = 0  # updates that are due
        self._is_ready = False  # whether updates are compiled, where they are to be
        self._due: list[str] = []  # what is due at this frame, in order
        self._saved: tuple[object, ...] | None = None  # how far it had come at the last checkpoint

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
        self.folder.lock.acquire()
        try:
            with self.signals:
                self._start()
                self._train()
                return self._finish()
        except Stopped:
            raise
        except BaseException as error:
            tell_of_error(error, self.folder, self._progress(), self.checkpoints.standing(self.folder.checkpoints))
            raise
        finally:
            self.report.stop()
            self.logger.close()
            if self.signals.is_lost:
                kill_children()
            else:
                self.collector.close()
            self.folder.lock.release()

    def _start(self) -> None:
        torch.set_num_threads(self.threads)
        self.folder.write_summary({"status": "running", "seed": self.standing.seed})
        self.logger.open(self.folder.metrics_file, resume=self._resumed, frames=self.frames)
        self.report.start(self.frames, self.total_frames)
        has_seeds, can_resume = self.collector.envs.has_episode_seeds, self.collector.can_resume()
        for note in notes_on_seeds(has_episode_seeds=has_seeds, can_resume=can_resume):
            self.report.say(note)
        self.standing.start(self.frames)

    def _train(self) -> None:
        """Advance to the last frame, to a reason to end before it, or to a signal."""
        while (self.frames < self.total_frames and self.stop.reason is None) or self._owed or self._due:
            if self.signals.received is None:
                try:
                    self._advance()
                except Interrupted:
                    self._stop()
                except Exception:  # a signal reaches a whole group: a process that this one needs may be gone by it
                    if self.signals.received is None:
                        raise
                    self.signals.is_lost = True
            if self.signals.received is not None:
                self._stop()

    def _advance(self) -> None:
        """One step of every environment, and all that is due after it."""
        if not (self._owed or self._due):  # a resumed run may have stopped amid what was due
            self._step()
        is_first = not self.learner.updates
        if self._owed and not self._is_ready:
            with self.signals.leaving_at_once():
                self.learner.wait(self.report.say)
            self._is_ready = True
        while self._owed and self.signals.received is None:
            self._owed -= self.learner.learn(self._owed)
        if is_first and self.learner.batch_shape is not None:
            self.report.say(f"{self.frames:>10,} frames  learning starts, batches {layout(self.learner.batch_shape)}")
        while self._due and not self._owed and self.signals.received is None:
            _ACTS[self._due[0]](self)
            self._due = self._due[1:]

    def _step(self) -> None:
        """One step of every environment; what is due from it is noted."""
        before = self.frames
        self.signals.is_stepping = True
        transitions = self.collector.collect()
        self.signals.is_stepping = False
        self.replay.extend(transitions)
        self.frames += len(transitions)
        self.learner.anneal(self.frames / self.total_frames)
        self._owed = (self._rounds(self.frames) - self._rounds(before)) * self.updates
        cadences = (("log", self.logger), ("evaluate", self.evaluation), ("save", self.checkpoints))
        self._due = [name for name, part in cadences if self.frames // part.every > before // part.every]

    def _rounds(self, frames: int) -> int:
        """How many rounds of updates are due by this frame."""
        return max(0, frames - self.learning_starts) // self.every

    def _log(self) -> None:
        returns, lengths = self.collector.statistics.take()
        frames_per_second = self.standing.log(self.frames, returns)
        times = {"time/frames_per_second": frames_per_second, "time/wall_seconds": self.standing.wall_seconds}
        self.logger.log(self.frames, times | of_training(self.collector, self.learner, self.replay, returns, lengths))
        if (seen := self.collector.returns) is not None and (warning := seen.warning()) is not None:
            self.report.say(f"{self.frames:>10,} frames  {warning}")
        self.stop.look_at_time(self.standing.wall_seconds)
        train_return = self.standing.train_return
        self.report.update(self.frames, frames_per_second=frames_per_second, episode_return=train_return)

    def _evaluate(self) -> None:
        with self.signals.leaving_at_once():
            result = self.evaluation.periodic(self.network, frames=self.frames)
            self.films.take(self.network, self.frames)
        values = {"eval/episode_return": result.mean, "eval/episode_length": float(np.mean(result.lengths))}
        self.logger.log(self.frames, values | {"time/wall_seconds": self.standing.wall_seconds})
        self.logger.look(self.frames, self.network)
        self.stop.judge(self.frames, result.mean)
        is_best = self.standing.judge(self.frames, result, self.network.state_dict())
        self.report.say(f"{self.frames:>10,} frames  {result}{'  (best so far)' if is_best else ''}")

    def _save(self, due: Sequence[str] = ()) -> None:
        """Write a checkpoint of a run in which ``due`` is still to be done, unless the last one is of the same."""
        if self._saved == (state := self._at(due)):
            return
        check_finite(self.learner.loss, self.learner.updates)
        if not self.collector.can_resume():
            self.collector.abandon_episodes()
            self.replay.flush()
        self.logger.flush()
        saved = self.checkpoints.save(self.folder.checkpoints, self.frames, self.state_dict(due))
        self._saved = state
        self.report.say(f"{self.frames:>10,} frames  checkpoint, {saved}")

    def _at(self, due: Sequence[str]) -> tuple[object, ...]:
        """How far the run has come; the same only where nothing has changed."""
        return self.frames, self._owed, tuple(due), self.standing.logged

    def _stop(self) -> None:
        """A signal came: save, say how to go on, and leave."""
        assert self.signals.received is not None
        go_on = f"go on with: qframe resume {shown(self.folder.path)}"
        if self.signals.is_lost:
            kept = "what was under way did not come to its end; the run is as at its last checkpoint, if there is one"
        else:
            self._save(self._due)
            kept = f"stopped at {self.frames:,} frames with a checkpoint"
        self.folder.write_summary({"status": "stopped", **self._progress()})
        raise Stopped(self.signals.received, f"{kept}; {go_on}")

    def _finish(self) -> dict[str, Any]:
        """Save, evaluate the best and the last network on the same fresh seeds, and sum up."""
        progress = self._progress()
        if self.standing.logged < self.frames:
            self._log()
        self._save()
        best = self.standing.best
        try:
            with self.signals.leaving_at_once():
                scores = final_scores(self.evaluation, self.network, best.get("network"), self.films)
        except Interrupted:
            self._stop()
            raise
        summary = {"status": "finished", **progress, **scores, "best_frames": best["frames"] or self.frames}
        summary |= {} if self.stop.reason is None else {"reason": self.stop.reason}
        self.logger.finish(summary)
        self.folder.write_summary(summary)
        board = self.logger.tensorboard
        tell(self.report, summary, self.folder.path, total_frames=self.total_frames, tensorboard=board)
        return summary

    def _progress(self) -> dict[str, Any]:
        return self.standing.progress(self.frames, self.learner.updates)

    def state_dict(self, due: Sequence[str] = ()) -> dict[str, Any]:
        """All that a resumed run goes on from.

        Args:
            due: what is still to be done at this frame.
        """
        return {
            "run": {
                "frames": self.frames,
                "owed": self._owed,
                "due": list(due),
                "logger": self.logger.state_dict(),
                "stop": self.stop.state_dict(),
                **self.standing.state_dict(),
            },
            "best": self.standing.best,
            "collector": self.collector.state_dict(),
            "learner": self.learner.state_dict(),
            "replay": self.replay.state_dict(live=True),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from ``state``; running episodes are played again, or abandoned where that shows something else."""
        run = state["run"]
        self.checkpoints.go_on_from(state["name"])
        self.frames, self._owed, self._due, self._resumed = run["frames"], run["owed"], list(run["due"]), run["logger"]
        self.standing.load_state_dict(run, state["best"])
        self.stop.load_state_dict(run["stop"])
        self.collector.load_state_dict(state["collector"])
        self.learner.load_state_dict(state["learner"])
        self.replay.load_state_dict(state["replay"])
        if self.collector.resume_episodes(state["collector"]["running"]):
            self._saved = self._at(self._due) if (self.folder.checkpoints / state["name"]).is_dir() else None
        else:
            self.replay.flush()
            self.report.say("the running episodes, played again, were not the same: new ones start in their place")


_ACTS: dict[str, Callable[[Runner], None]] = {"log": Runner._log, "evaluate": Runner._evaluate, "save": Runner._save}
