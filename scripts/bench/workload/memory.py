"""Records the memory of processes while they work: two points cannot show that it grows."""

import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final

from scripts.bench.workload.processes import Running

# Process → [seconds since the beginning, resident memory in MB], in the order of time.
Series = dict[str, list[tuple[float, float]]]

_PAUSE_SECONDS: Final = 0.5
# A longer run is sampled more rarely, so that any run fits into a picture and a page of JSON.
_MOST_POINTS: Final = 100


@contextmanager
def memory_over_time(processes: Mapping[str, Running]) -> Iterator[Series]:
    """Sample the resident memory of `processes` in a thread until the block ends.

    Each has between 50 and 100 points once that many pauses have passed. A process that has ended
    gets no more.
    """
    series: Series = {name: [] for name in processes}
    ended = threading.Event()
    sampling = threading.Thread(target=_sample, args=(processes, series, ended), daemon=True)
    sampling.start()
    try:
        yield series
    finally:
        ended.set()
        sampling.join()


def _sample(processes: Mapping[str, Running], series: Series, ended: threading.Event) -> None:
    pause_seconds, began = _PAUSE_SECONDS, time.perf_counter()
    while True:
        for name, process in processes.items():
            with suppress(subprocess.CalledProcessError):  # it ended meanwhile
                if process.alive():
                    seconds = round(time.perf_counter() - began, 1)
                    series[name].append((seconds, round(process.resident_mb(), 1)))
        if any(len(points) >= _MOST_POINTS for points in series.values()):
            pause_seconds *= 2
            for points in series.values():
                del points[1::2]
        if ended.wait(pause_seconds):
            return
