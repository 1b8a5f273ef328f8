"""One side of a benchmark, once, in a process of its own, so that memory and imports are its alone.

Called with a JSON request file; the measurement goes into the file that it names.
"""

import gc
import importlib
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.benchmark import Benchmark, Setting


def benchmark_of(name: str) -> Benchmark:
    """The benchmark of this name."""
    found: Benchmark = importlib.import_module(f"benchmarks.{name.replace('-', '_')}").BENCHMARK
    return found


def measure(request: dict[str, Any]) -> dict[str, Any]:
    """CPU seconds, of children too, and peak memory in MB, of one round."""
    benchmark = benchmark_of(request["benchmark"])
    side = benchmark.ours if request["side"] == "ours" else benchmark.peer
    setting = Setting(Path(request["folder"]), Path(request["model"]), request["size"], request["round"])
    work = side.ready(setting)
    gc.collect()
    gc.freeze()  # what the imports left is on neither side's account
    start = _cpu_seconds()
    results = work()
    seconds = _cpu_seconds() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"results": results, "cpu_seconds": seconds, "peak_mb": peak}


def _cpu_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


if __name__ == "__main__":
    given = json.loads(Path(sys.argv[1]).read_text())
    Path(given["answer"]).write_text(json.dumps(measure(given)))
