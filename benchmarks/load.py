"""load: importing the code location, against importing Dagster alone."""

import sys
from typing import Any

from benchmarks.benchmark import Benchmark, Setting, Side, Work

HEAVY = ("numpy", "torch", "transformers", "peft", "mlflow", "deepeval", "datasets")


def _definitions(setting: Setting) -> Work:  # noqa: ARG001 (the same for all)
    def work() -> list[str]:
        import definitions  # noqa: F401

        return [name for name in HEAVY if name in sys.modules]

    return work


def _dagster(setting: Setting) -> Work:  # noqa: ARG001
    def work() -> list[str]:
        import dagster  # noqa: F401

        return []

    return work


def _agree(ours: Any, theirs: Any) -> str:
    assert ours == theirs == [], f"definitions.py loads {', '.join(ours)}"
    return "neither loads " + ", ".join(HEAVY)


BENCHMARK = Benchmark(
    name="load",
    work="one import in a new process",
    unit="",
    size=1,
    aim="1.5x of `import dagster`, so a ratio of 0.67 or more",
    ours=Side("import definitions", ("dagster",), _definitions),
    peer=Side("import dagster", (), _dagster),
    agree=_agree,
    needs_model=False,
)
