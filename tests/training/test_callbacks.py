"""Callbacks: called with the loop, resumed with it, and named where they fail."""

import json
import sys

import pytest
import torch

from qframe.checkpoints.load import load_checkpoint
from qframe.cli.main import main
from qframe.errors import RunError
from qframe.training import Callback
from tests.runners import make_runner

PROBE = "CartPole-v1"


class Recorder(Callback):
    """Records every call with its frame, and sums the rewards."""

    def __init__(self):
        self.calls, self.total = [], 0.0

    def start(self, run):
        self.calls.append(("start", run.frames, run.updates, run.total_frames))

    def step(self, run, transitions):
        self.total += transitions["next", "reward"].sum().item()

    def evaluation(self, run, result):
        self.calls.append(("evaluation", run.frames, len(result.returns)))
        run.log({"mine/total": self.total})

    def save(self, run):
        self.calls.append(("save", run.frames))

    def end(self, run, summary):
        self.calls.append(("end", run.frames, summary["status"]))

    def state_dict(self):
        return {"total": self.total, "calls": list(self.calls)}

    def load_state_dict(self, state):
        self.total, self.calls = state["total"], list(state["calls"])


def make(folder, callbacks, **options):
    return make_runner(folder, PROBE, callbacks=callbacks, total_frames=1000, evaluate_every=400, **options)


def test_every_hook_is_called_at_its_frame(tmp_path):
    recorder = Recorder()
    make(tmp_path, [recorder]).run()
    assert recorder.total == 1000
    assert recorder.calls == [
        ("start", 0, 0, 1000), ("evaluation", 400, 4), ("save", 500), ("evaluation", 800, 4), ("save", 1000),
        ("end", 1000, "finished"),
    ]  # fmt: skip
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["frames"], line["mine/total"]) for line in lines if "mine/total" in line] == [(400, 400), (800, 800)]


@pytest.mark.parametrize("end", [500, 1000])
def test_the_end_is_saved_once_and_after_a_last_log(tmp_path, end):
    class Stops(Recorder):
        def evaluation(self, run, result):
            if run.frames == end:
                run.stop("enough is known")

    recorder = Stops()
    runner = make_runner(tmp_path, PROBE, callbacks=[recorder], total_frames=1000, evaluate_every=500)
    runner.schedule.intervals["log"] = 300  # so that no log is due at the end
    runner.run()
    assert [frame for hook, frame, *_ in recorder.calls if hook == "save"] == list(range(500, end + 1, 500))
    assert load_checkpoint(tmp_path / "checkpoints")["run"]["logged"] == end


def test_a_class_is_built_and_saved_state_is_what_save_left(tmp_path):
    make(tmp_path, [Recorder]).run()
    (saved,) = load_checkpoint(tmp_path / "checkpoints")["run"]["callbacks"]
    assert saved["class"] == "tests.training.test_callbacks.Recorder"
    assert saved["state"]["calls"][-1] == ("save", 1000)


def test_a_callback_stops_a_run_as_finished(tmp_path):
    class Stops(Callback):
        def step(self, run, transitions):
            if run.frames == 300:
                run.stop("enough is known")

    summary = make(tmp_path, [Stops()]).run()
    assert (summary["frames"], summary["status"], summary["reason"]) == (300, "finished", "enough is known")


@pytest.mark.parametrize("hook", ["start", "step", "evaluation", "save", "end"])
def test_a_callback_that_raises_is_named_with_method_and_frame_and_the_checkpoint_stays(tmp_path, hook):
    class Raises(Callback):
        pass

    def fail(self, run, *given):
        if hook in ("start", "end") or run.frames > 500:
            raise KeyError("no such thing")

    setattr(Raises, hook, fail)
    runner = make(tmp_path, [Raises()])
    frame = {"start": 0, "step": 504, "evaluation": 800}.get(hook, 1000)
    place = r"callback tests\.training\.test_callbacks\.\S*Raises failed in "
    error = r"KeyError: 'no such thing', at \S*test_callbacks\.py:\d+"
    with pytest.raises(RunError, match=rf"^{place}{hook} at {frame:,} frames: {error}(\n|$)"):
        runner.run()
    status = json.loads((tmp_path / "summary.json").read_text())["status"]
    assert status == ("finished" if hook == "end" else "failed")
    if hook != "start":
        assert load_checkpoint(tmp_path / "checkpoints")["run"]["frames"] == (1000 if hook == "end" else 500)


def test_a_state_that_no_checkpoint_holds_is_refused_before_it_is_written(tmp_path):
    class Odd(Callback):
        def state_dict(self):
            return {"seen": [torch.zeros(1), {1, 2}]}

    with pytest.raises(RunError, match=r"Odd: its state_dict holds a set, which no checkpoint can; use tensors"):
        make(tmp_path, [Odd()]).run()


def test_a_metric_needs_a_group(tmp_path):
    class Logs(Callback):
        def start(self, run):
            run.log({"loss": 1.0})

    with pytest.raises(RunError, match="expected names of metrics as group/name, got 'loss'"):
        make(tmp_path, [Logs()]).run()


STRANGER = """
from qframe.training import Callback


class Counts(Callback):
    def __init__(self, *, fails_at: int = 10**9):
        self.steps, self.fails_at = 0, fails_at

    def step(self, run, transitions):
        self.steps += 1
        if run.frames >= self.fails_at:
            raise ValueError("the counter is broken")

    def save(self, run):
        run.log({"stranger/steps": self.steps})

    def state_dict(self):
        return {"steps": self.steps}

    def load_state_dict(self, state):
        self.steps = state["steps"]


class Plain:
    pass
"""


@pytest.fixture
def stranger(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "stranger_lab.py").write_text(STRANGER)
    yield [
        "--trust", "stranger_lab", "runner.learning_starts=100", "evaluation.final_episodes=2", "evaluation.episodes=2",
        "checkpoint.every=200", "replay.capacity=1000",
    ]  # fmt: skip
    sys.modules.pop("stranger_lab", None)


def counted(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {line["frames"]: line["stranger/steps"] for line in lines if "stranger/steps" in line}


@pytest.mark.parametrize("collector", ["sync", "pipelined"])
def test_a_strangers_callback_trains_resumes_and_is_not_needed_to_evaluate(stranger, tmp_path, collector, capsys):
    words = ["train", "runner.callbacks=[stranger_lab.Counts]", "total_frames=400", f"collector={collector}", *stranger]
    assert main([*words, "hydra.run.dir=run"]) == 0, capsys.readouterr().err
    assert main(["resume", "run", "total_frames=800", "--trust", "stranger_lab"]) == 0, capsys.readouterr().err
    assert counted(tmp_path / "run") == {200: 25, 400: 50, 600: 75, 800: 100}
    assert main(["eval", "run", "--episodes", "1"]) == 0


def test_a_strangers_callback_that_raises_ends_the_run_with_status_2_and_can_be_resumed(stranger, tmp_path, capsys):
    node = "runner.callbacks=[{_target_: stranger_lab.Counts, fails_at: 300}]"
    assert main(["train", node, "total_frames=400", *stranger, "hydra.run.dir=run"]) == 2
    said = capsys.readouterr().err
    failure = "qframe: callback stranger_lab.Counts failed in step at 304 frames: ValueError: the counter is broken, at"
    assert failure in said
    assert f"the last checkpoint is {tmp_path / 'run' / 'checkpoints' / '000000000200'}" in said
    assert "Traceback" not in said
    fixed = "runner.callbacks=[stranger_lab.Counts]"
    assert main(["resume", "run", fixed, "--trust", "stranger_lab"]) == 0, capsys.readouterr().err
    assert counted(tmp_path / "run") == {200: 25, 400: 50}


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("[stranger_lab.Cuonts]", "runner.callbacks[0]: 'stranger_lab' has no 'Cuonts'; nearest is"),
        ("[stranger_lab.Plain]", "runner.callbacks[0]: expected"),
        ("[{_target_: stranger_lab.Counts, fail_at: 3}]", "fail_at: unknown key of stranger_lab.Counts; nearest is"),
        ("[other_lab.Counts]", "trust a package of your own with --trust PREFIX"),
        ("stranger_lab.Counts", "runner.callbacks: expected a list"),
    ],
)
def test_wrong_callbacks_are_refused_before_the_run(stranger, named, message, capsys):
    assert main(["check", f"runner.callbacks={named}", *stranger]) == 2
    assert message in capsys.readouterr().err
