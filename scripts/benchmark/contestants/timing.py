"""The processor time of a call, the median over blocks of calls, as one line of JSON."""

import json
import statistics
import time
from collections.abc import Callable
from typing import Any


def report(call: Callable[[], Any], *, warm_up: int = 50, blocks: int = 15, calls: int = 100, **more: Any) -> None:
    """Time ``call`` and print the result."""
    for _ in range(warm_up):
        call()
    seconds = []
    for _ in range(blocks):
        started = time.process_time()
        for _ in range(calls):
            call()
        seconds.append((time.process_time() - started) / calls)
    print(json.dumps({"microseconds": round(statistics.median(seconds) * 1e6, 2), **more}))
