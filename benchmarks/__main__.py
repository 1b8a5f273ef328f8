"""`make bench`: run all benchmarks or one, and write results.md."""

import argparse
import tempfile
from pathlib import Path

from benchmarks import report, rounds
from benchmarks.benchmark import Benchmark, Setting
from benchmarks.quiz import quiz, shots
from benchmarks.side import benchmark_of

NAMES = ("load", "eval-prefix", "eval-again")
TRIAL = "gate-trial"
"""Trains several models, so it runs only by its name."""
RESULTS = rounds.ROOT / "benchmarks/results.md"


def main() -> None:
    """Read the arguments, run, report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = ", ".join([*NAMES, TRIAL])
    parser.add_argument("name", nargs="?", default="", help=f"one of {names}; without, all but the last")
    parser.add_argument("--model", type=Path, help="a model folder; without, a small one is built")
    parser.add_argument("--size", type=int, help="how many questions or prompts")
    given = parser.parse_args()
    if given.name not in ("", *NAMES, TRIAL):
        parser.error(f"no benchmark {given.name!r}; there are {names}")
    if given.name == TRIAL:
        from benchmarks import gate_trial

        print(report.put(RESULTS, gate_trial.run(given.size or gate_trial.SIZE)))
        return
    for name in [given.name] if given.name else NAMES:
        with tempfile.TemporaryDirectory(prefix=f"{name}-") as folder:
            print(_run(benchmark_of(name), Path(folder), given.model, given.size))


def _run(benchmark: Benchmark, folder: Path, model: Path | None, size: int | None) -> str:
    if benchmark.needs_model and model is None:
        model = _small_model(folder / "model")
    setting = Setting(folder, (model or folder).resolve(), size or benchmark.size)
    return report.write(RESULTS, benchmark, setting, rounds.run(benchmark, setting))


def _small_model(folder: Path) -> Path:
    from tests.tiny_model import build_tiny_model

    return build_tiny_model(folder, width=192, layers=4, context=2048, vocabulary=2048, sentences=[shots(quiz(500, 3))])


if __name__ == "__main__":
    main()
