"""Run the two sides of a benchmark: once to see that they agree, then in turn, round by round."""

import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.benchmark import Benchmark, Setting

ROUNDS = 5
ROOT = Path(__file__).resolve().parents[1]
QUIET = {
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "PYTHONWARNINGS": "ignore",
    "PYTHONDONTWRITEBYTECODE": "",
    "TOKENIZERS_PARALLELISM": "false",
}
"""One thread: on a shared machine, threads that wait for each other count as CPU seconds. And Python keeps what it
compiled of both sides, not only of installed packages."""


@dataclass(frozen=True)
class Spread:
    """The median of some figures, with the lowest and the highest."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Result:
    """What came of a benchmark. CPU seconds and megabytes by `ours` and `peer`."""

    agreed: str
    cpu_seconds: dict[str, Spread]
    peak_mb: dict[str, float]
    ratio: Spread
    """CPU seconds of the peer to ours, in the same round."""
    facts: list[str]


def run(benchmark: Benchmark, setting: Setting) -> Result:
    """First equal results, then the rounds.

    Raises:
        AssertionError: the sides do not agree, so that their times mean nothing.
    """
    first = {side: _once(benchmark, side, setting) for side in ("ours", "peer")}
    agreed = benchmark.agree(first["ours"]["results"], first["peer"]["results"])
    print(f"{benchmark.name}: {agreed}", flush=True)
    rounds: list[dict[str, dict[str, Any]]] = []
    for number in range(1, ROUNDS + 1):
        pair = {side: _once(benchmark, side, replace(setting, round=number)) for side in ("ours", "peer")}
        benchmark.agree(pair["ours"]["results"], pair["peer"]["results"])
        rounds.append(pair)
        seconds = ", ".join(f"{side} {found['cpu_seconds']:.2f}" for side, found in pair.items())
        print(f"{benchmark.name}: round {number} of {ROUNDS}, CPU seconds: {seconds}", flush=True)
    cpu = {side: [pair[side]["cpu_seconds"] for pair in rounds] for side in ("ours", "peer")}
    return Result(
        agreed=agreed,
        cpu_seconds={side: spread(values) for side, values in cpu.items()},
        peak_mb={side: max(pair[side]["peak_mb"] for pair in rounds) for side in cpu},
        ratio=spread([theirs / ours for ours, theirs in zip(cpu["ours"], cpu["peer"], strict=True)]),
        facts=benchmark.facts(setting, statistics.median(cpu["ours"]), statistics.median(cpu["peer"])),
    )


def spread(values: list[float]) -> Spread:
    """Median and range."""
    return Spread(statistics.median(values), min(values), max(values))


def _once(benchmark: Benchmark, side: str, setting: Setting) -> dict[str, Any]:
    request, answer, log = (setting.folder / f"{side}.{name}" for name in ("request.json", "answer.json", "log"))
    content = {"benchmark": benchmark.name, "side": side, "answer": str(answer), "size": setting.size}
    where = {"folder": str(setting.folder), "model": str(setting.model), "round": setting.round}
    request.write_text(json.dumps({**content, **where}))
    with log.open("w") as output:
        child = subprocess.run(
            [sys.executable, "-m", "benchmarks.side", str(request)],
            cwd=ROOT,
            env={**os.environ, **QUIET},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    if child.returncode:
        raise SystemExit(f"{benchmark.name}: {side} ended with {child.returncode}\n{log.read_text()[-4000:]}")
    found: dict[str, Any] = json.loads(answer.read_text())
    return found
