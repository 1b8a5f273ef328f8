"""results.md: one section per benchmark and model, replaced by the next run of the same."""

import json
import os
import platform
import re
from importlib.metadata import version
from pathlib import Path

from benchmarks.benchmark import Benchmark, Setting
from benchmarks.rounds import ROUNDS, Result, Spread

HEAD = """# Results of `make bench`

Each side runs in processes of its own, on one thread. Results are compared first; then the sides take turns. A figure
is the median of {rounds} rounds, with the lowest and the highest in brackets; the ratio is taken within each round.
"""


def write(path: Path, benchmark: Benchmark, setting: Setting, result: Result) -> str:
    """Put the section of this benchmark and model into the file; returns the section."""
    model = _model(setting.model) if benchmark.needs_model else ""
    return put(path, _section(benchmark, setting, result, model))


def put(path: Path, section: str) -> str:
    """Put a section into the file, in place of an earlier one of the same title; returns it."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    sections = {part.split("\n", 1)[0]: part for part in re.split(r"^(?=## )", text, flags=re.MULTILINE)[1:]}
    sections[section.split("\n", 1)[0]] = section
    parts = [HEAD.format(rounds=ROUNDS), *(sections[title].strip() + "\n" for title in sorted(sections))]
    path.write_text("\n".join(parts), encoding="utf-8")
    return section


def _section(benchmark: Benchmark, setting: Setting, result: Result, model: str) -> str:
    counted = f", {setting.size} {benchmark.unit}" if benchmark.unit else ""
    rows = []
    for side, about in (("ours", benchmark.ours), ("peer", benchmark.peer)):
        seconds = result.cpu_seconds[side]
        rate = f"{_number(setting.size / seconds.median)} | " if benchmark.unit else ""
        rows.append(f"| {about.name} | {rate}{_figure(seconds)} | {result.peak_mb[side]:.0f} MB |")
    rate_head, rate_line = (f"{benchmark.unit} per CPU second | ", "---|") if benchmark.unit else ("", "")
    packages = dict.fromkeys([*benchmark.ours.packages, *benchmark.peer.packages])
    versions = ", ".join([f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in packages)])
    lines = [
        f"## {benchmark.name}" + (f" on {model}" if model else ""),
        f"{benchmark.work[0].upper()}{benchmark.work[1:]}{counted}. Aim: {benchmark.aim}.",
        "",
        f"| side | {rate_head}CPU seconds | peak memory |",
        f"|---|{rate_line}---|---|",
        *rows,
        "",
        f"**Ratio {_figure(result.ratio)}**: CPU seconds of {benchmark.peer.name} to {benchmark.ours.name}.",
        "",
        *(f"- {fact}" for fact in [f"Equal: {result.agreed}.", *result.facts]),
        "",
        f"{versions}. {_machine()}.",
    ]
    return "\n".join(lines) + "\n"


def _figure(found: Spread) -> str:
    return f"{_number(found.median)} ({_number(found.low)} to {_number(found.high)})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _model(folder: Path) -> str:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    shape = f"{config['num_hidden_layers']} layers of width {config['hidden_size']}"
    return f"{config['model_type']}, {shape}, vocabulary {config['vocab_size']}"


def _machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores, {platform.machine()}, {memory:.0f} GiB, {platform.system()}"
