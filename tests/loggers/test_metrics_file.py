"""``metrics.jsonl``: whole lines only, whatever cut the last one off, and every metric once per frame."""

import errno
import json
from collections import Counter

import pytest

from qframe.loggers.metrics_file import MetricsFile
from tests.runners import make_runner

FIRST = '{"frames": 8, "a": 1.0}\n'


@pytest.mark.parametrize(
    ("content", "size", "kept", "is_longer"),
    [
        (FIRST + '{"frames": 16, "a', 1000, FIRST, False),  # a crash lost the end of the checkpoint's own lines
        (FIRST + '{"frames": 16, "a', len(FIRST), FIRST, True),
        ('{"frames": 8', 1000, "", False),
        (FIRST, 1000, FIRST, False),
    ],
)
def test_a_line_that_a_crash_cut_off_is_dropped(tmp_path, content, size, kept, is_longer):
    path = tmp_path / "metrics.jsonl"
    path.write_text(content)
    file = MetricsFile(path)
    assert file.open(size) is is_longer
    file.log(24, {"a": 2.0})
    assert path.read_text() == kept + '{"frames": 24, "a": 2.0}\n'


def test_a_line_that_a_full_disk_cut_off_is_dropped(tmp_path, monkeypatch):
    path = tmp_path / "metrics.jsonl"
    file = MetricsFile(path)
    file.open(0)
    file.log(8, {"a": 1.0})

    def write_half(path, mode):
        with open(path, mode) as opened:
            opened.write('{"frames"')
        raise OSError(errno.ENOSPC, "no space left")

    with monkeypatch.context() as patch:
        patch.setattr(type(path), "open", write_half)
        with pytest.raises(OSError, match="no space"):
            file.log(16, {"a": 1.0})
    file.log(24, {"a": 2.0})
    assert path.read_text() == FIRST + '{"frames": 24, "a": 2.0}\n'


@pytest.mark.parametrize(("total", "timed"), [(1000, [252, 500, 752, 1000]), (752, [252, 500, 752])])
def test_no_metric_is_logged_twice_at_a_frame(tmp_path, total, timed):
    runner = make_runner(tmp_path, "qframe-test/Terminating-v0", total_frames=total, evaluate_every=250)
    runner.run()
    rows = [json.loads(line) for line in runner.folder.metrics_file.read_text().splitlines()]
    counts = Counter((row["frames"], name) for row in rows for name in row if name != "frames")
    assert set(counts.values()) == {1}
    assert [row["frames"] for row in rows if "time/wall_seconds" in row] == timed
    assert all(seconds is not None for _, _, seconds in runner.folder.evaluations)
