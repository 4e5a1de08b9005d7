import os
import subprocess
import sys

from qframe.runs.process import is_alive, this_process


def test_a_process_is_there_until_it_ends():
    command = "from qframe.runs.process import this_process; print(this_process(), flush=True); input()"
    child = subprocess.Popen([sys.executable, "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    mark = eval(child.stdout.readline())
    assert mark["pid"] == child.pid != os.getpid()
    assert is_alive(mark) is True
    child.communicate("\n")
    assert is_alive(mark) is False


def test_a_later_process_with_the_same_number_is_another():
    assert is_alive(this_process() | {"started": "1"}) is False


def test_a_process_of_another_host_or_none_is_not_known():
    assert is_alive(this_process() | {"host": "elsewhere"}) is None
    assert is_alive({}) is None
