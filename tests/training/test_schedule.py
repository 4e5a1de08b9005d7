"""When updates, logs, evaluations and checkpoints are due."""

import pytest

from qframe.training.schedule import Schedule

NEVER = {"log": 10**9, "evaluate": 10**9, "save": 10**9}


def make(*, learning_starts=0, every=1, updates=1, **intervals):
    return Schedule(learning_starts=learning_starts, every=every, updates=updates, intervals=NEVER | intervals)


def finish(schedule):
    """Do all that is due; what it was."""
    done = schedule.updates_owed, list(schedule.due)
    schedule.updates_owed = 0
    for task in list(schedule.due):
        schedule.done(task)
    return done


def test_rounds_of_updates_are_counted_from_where_learning_starts():
    schedule = make(learning_starts=10, every=4, updates=3)
    owed = []
    for _ in range(7):
        schedule.advance(4)
        owed.append(finish(schedule)[0])
    assert schedule.frames == 28
    assert owed == [0, 0, 0, 3, 3, 3, 3]  # at 14, 18, 22 and 26 frames: (28 − 10) // 4 = 4 rounds


def test_a_step_past_several_rounds_owes_them_all():
    schedule = make(learning_starts=10, every=4, updates=2)
    schedule.advance(23)
    assert schedule.updates_owed == 3 * 2


def test_the_frame_where_learning_starts_brings_no_update_yet():
    schedule = make(learning_starts=8, every=4)
    schedule.advance(8)
    assert schedule.updates_owed == 0
    schedule.advance(3)
    assert schedule.updates_owed == 0
    schedule.advance(1)
    assert schedule.updates_owed == 1


def test_a_task_is_due_once_per_multiple_however_large_the_steps_are():
    schedule = make(log=10)
    due = []
    for _ in range(6):
        schedule.advance(7)
        due.append(finish(schedule)[1])
    assert due == [[], ["log"], ["log"], [], ["log"], ["log"]]  # at 7, 14, 21, 28, 35 and 42 frames


def test_a_step_past_two_multiples_brings_a_task_once():
    schedule = make(save=5)
    schedule.advance(12)
    assert schedule.due == ["save"]


def test_what_is_due_at_one_frame_is_logged_then_evaluated_then_saved():
    intervals = {"save": 20, "evaluate": 20, "log": 20}
    schedule = Schedule(learning_starts=0, every=20, updates=1, intervals=intervals)
    schedule.advance(19)
    assert not schedule.has_work
    schedule.advance(1)
    assert (schedule.updates_owed, schedule.due) == (1, ["log", "evaluate", "save"])


def test_there_is_work_until_the_last_of_it_is_done():
    schedule = make(every=2, updates=3, evaluate=2, save=2)
    schedule.advance(2)
    schedule.updates_owed -= 2
    assert (schedule.has_work, schedule.updates_owed) == (True, 1)
    schedule.updates_owed -= 1
    assert schedule.due == ["evaluate", "save"]
    schedule.done("evaluate")
    assert (schedule.has_work, schedule.due) == (True, ["save"])
    schedule.done("save")
    assert not schedule.has_work


def test_a_schedule_that_was_saved_in_the_middle_of_its_work_resumes_there():
    schedule = make(learning_starts=4, every=2, updates=5, log=8, evaluate=8, save=8)
    schedule.advance(8)
    schedule.updates_owed -= 7
    schedule.done("log")
    state = schedule.state_dict()
    assert state == {"frames": 8, "logged": 8, "updates_owed": 3, "due": ["evaluate", "save"]}
    schedule.done("save")  # what follows changes nothing of the state
    resumed = make(learning_starts=4, every=2, updates=5, log=8, evaluate=8, save=8)
    resumed.load_state_dict(state)
    assert (resumed.frames, resumed.updates_owed, resumed.due) == (8, 3, ["evaluate", "save"])
    resumed.done("evaluate")
    assert state["due"] == ["evaluate", "save"]


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"every": 0}, "expected every of at least 1, got 0"),
        ({"updates": -2}, "expected updates of at least 1, got -2"),
        ({"learning_starts": -1}, "expected learning_starts of at least 0, got -1"),
    ],
)
def test_numbers_out_of_range_are_refused(numbers, message):
    with pytest.raises(ValueError, match=message):
        make(**numbers)
