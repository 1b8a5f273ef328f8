"""gate-trial: real models of the shipped line, equal ones and planted regressions, before the line's own gates.

The peer is what most gates elsewhere are: the same thresholds on point estimates, of the same models.
"""

from collections.abc import Mapping
from itertools import permutations
from pathlib import Path

from tqdm import tqdm

from benchmarks.trial_judging import Court, Judged
from benchmarks.trial_models import Workshop
from llm_assets.line import load_line
from resources.settings import ROOT

SIZE = 6
"""Models that differ in nothing but their training's seed."""
BETTER = "win_rate_beats_champion"
LEARNED = ("perplexity", "win_rate")
"""What tells how well the dialogs were learned; every planted regression spoils exactly that."""
Pairs = Mapping[tuple[int, int], Judged]


def run(size: int, home: Path = ROOT / ".llm/gate-trial") -> str:
    """The section of results.md. What an earlier trial made in `home` is found again.

    Raises:
        AssertionError: equal models passed as better too often, or a planted regression fails others than it should.
    """
    workshop = Workshop(load_line(ROOT / "lines/assistant.yaml"), home)
    made = [workshop.make(seed) for seed in tqdm(range(size), desc="equal models", unit="model")]
    equal, first = [one.checkpoint for one in made], made[0].checkpoint
    planted = {
        "adapter scaled by 0": workshop.scaled(first, 0.0),
        "English answers shuffled": workshop.make(0, ("english",)).checkpoint,
        "all answers shuffled": workshop.make(0, ("chinese", "english")).checkpoint,
    }
    court = Court(workshop.line, workshop.settings, workshop.store, made[0])
    order = tqdm(list(permutations(range(size), 2)), desc="equal pairs", unit="pair")
    pairs = {(i, j): court.judge_one(equal[i], equal[j]) for i, j in order}
    found = {what: court.judge_one(checkpoint, first) for what, checkpoint in planted.items()}
    learned = {name for name, gate in workshop.line.gates.items() if gate.metric in LEARNED}
    passed = _passed(pairs, BETTER)
    stated = workshop.line.gates[BETTER].false_pass
    assert passed <= stated * len(pairs), f"{BETTER} passes {passed} of {len(pairs)} pairs of equal models"
    for what, judged in found.items():
        stopped = {name for name in workshop.line.gates if judged.outcomes[name] != "PASS"}
        assert stopped == learned, f"{what}: {sorted(stopped)} do not pass, {sorted(learned)} should not"
    return _section(pairs, found)


def _passed(pairs: Pairs, gate: str) -> int:
    return sum(judged.outcomes[gate] == "PASS" for judged in pairs.values())


def _section(pairs: Pairs, planted: Mapping[str, Judged]) -> str:
    models = len({candidate for candidate, _ in pairs})
    gates = next(iter(pairs.values())).points
    rows = []
    for gate in gates:
        points = sum(judged.points[gate] for judged in pairs.values())
        outcomes = [f"{judged.outcomes[gate]}{' (point passes)' * judged.points[gate]}" for judged in planted.values()]
        rows.append(f"| {gate} | {_passed(pairs, gate)} | {points} | {' | '.join(outcomes)} |")
    lines = [
        "## gate-trial on the shipped line",
        f"{models} models that differ in their training's seed alone, each before the gates as candidate against each "
        f"other as champion: {len(pairs)} pairs, which share models and so are not independent. Then planted "
        "regressions of seed 0 against seed 0. Aim: equal models pass as better in at most 5% of pairs, and what is "
        "planted does not pass the gates on perplexity and win rate, and all others.",
        "",
        f"| gate | equal: passes of {len(pairs)} | by point estimates | {' | '.join(planted)} |",
        f"|---|---|---|{'---|' * len(planted)}",
        *rows,
    ]
    return "\n".join(lines) + "\n"
