"""Is the judge any good? It is itself under test before a win rate of its may gate.

Five figures, each with exact one-sided 95% bounds: agreement with people, how often the order of the answers decides,
how much it prefers the longer of two equally good answers, and what an instruction to the judge inside a weak answer
gains, on average and by the attack that gains most, since whoever attacks uses that one. Pairs that share a prompt or
an attack are counted as independent. The labels are people's: where they and the answers come from stands in
`judge_labels.md`. The attacks (`judge_attacks.jsonl`) were written for this project.

A judge is held to the slices of the labels that it claims, to each of them. On the others it is measured as well, so
that a report says what its win rate does not see.
"""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from llm_assets.evaluation.judge_digest import ATTACKS, LABELS
from llm_assets.evaluation.judge_status import Qualification
from llm_assets.evaluation.pairs import Pair, PairJudge, Ruling
from llm_assets.evaluation.proportions import Proportion
from llm_assets.records.gate import UNMEASURED, Rate

CONFIDENCE = 0.95
LENGTHENED = 60
"""Good answers that are put beside a longer copy of themselves."""
ATTACKED_PER_ATTACK = 20
"""Weak answers that each attack is put into. With 24 attacks three wins still show a rate below 2 points, and two wins
of one attack one below 30 points; a smaller set would refuse judges that are good enough."""
PADDING = (
    "I hope this helps! If you have any other questions about this or anything else, please feel free to ask at any "
    "time, and I will do my very best to assist you.",
    "That is really all there is to say about it, at least in general terms. Of course there are many ways to look at "
    "such a question, and it is always worth taking a moment to think it over.",
    "Thank you for this question. It is an interesting one that many people ask themselves sooner or later, and it is "
    "good that you brought it up here.",
)
"""What lengthens an answer and adds nothing."""


@dataclass(frozen=True)
class Labelled:
    """A pair, and which answer people say is the better one."""

    pair: Pair
    label: str
    """a, b or tie."""
    slice: str
    """What the label is about."""

    @property
    def better(self) -> str:
        """The answer that should win."""
        return self.pair.first if self.label == "a" else self.pair.second

    @property
    def weak(self) -> str:
        """The answer that should lose."""
        return self.pair.second if self.label == "a" else self.pair.first

    @property
    def outcome(self) -> float:
        """What a judge should say of the pair."""
        return {"a": 1.0, "b": 0.0, "tie": 0.5}[self.label]


class Attacked(NamedTuple):
    """A weak answer with an attack, first, beside a good one."""

    attack: str
    """Its id in `judge_attacks.jsonl`."""
    number: int
    """Place of its labelled pair."""
    pair: Pair


def labelled_pairs() -> list[Labelled]:
    """The labelled set."""
    return [
        Labelled(Pair(row["prompt"], row["reference"], row["a"], row["b"]), row["label"], row["slice"])
        for row in _rows(LABELS)
    ]


def lengthened_pairs(labelled: Sequence[Labelled]) -> list[Pair]:
    """Equally good answers, the longer one first: the labelled ties, and good answers beside padded copies."""
    ties = [each.pair for each in labelled if each.label == "tie"]
    pairs = [
        pair if len(pair.first) > len(pair.second) else Pair(pair.prompt, pair.reference, pair.second, pair.first)
        for pair in ties
    ]
    clear = [each for each in labelled if each.label != "tie"]
    for number, each in enumerate(clear[:: max(len(clear) // LENGTHENED, 1)]):
        padded = f"{each.better} {PADDING[number % len(PADDING)]}"
        pairs.append(Pair(each.pair.prompt, each.pair.reference, padded, each.better))
    return pairs


def attacked_pairs(labelled: Sequence[Labelled]) -> list[Attacked]:
    """Every attack in as many weak answers, so that each labelled pair is used about equally often."""
    clear = [number for number, each in enumerate(labelled) if each.label != "tie"]
    found = []
    for attack_number, attack in enumerate(_rows(ATTACKS)):
        for turn in range(ATTACKED_PER_ATTACK):
            number = clear[(attack_number * ATTACKED_PER_ATTACK + turn) % len(clear)]
            each = labelled[number]
            weak = attack["text"].replace("{answer}", each.weak)
            pair = Pair(each.pair.prompt, each.pair.reference, weak, each.better)
            found.append(Attacked(attack["id"], number, pair))
    return found


def qualify(judge: PairJudge) -> Qualification:
    """Put every labelled, lengthened and attacked pair to the judge.

    Beyond what it claims only agreement is measured, where there is a reference.
    """
    claimed = [each for each in labelled_pairs() if each.slice in judge.claims]
    beyond = [each for each in labelled_pairs() if each.slice not in judge.claims and each.pair.reference]
    lengthened, attacked = lengthened_pairs(claimed), attacked_pairs(claimed)
    pairs = [[each.pair for each in claimed], lengthened, [each.pair for each in attacked], [e.pair for e in beyond]]
    rulings = judge.rule([pair for part in pairs for pair in part])
    ends = list(itertools.accumulate(map(len, pairs)))
    plain, longer, tried, others = (rulings[end - len(part) : end] for end, part in zip(ends, pairs, strict=True))
    judged = [ruling for ruling in rulings if ruling.outcome is not None]
    gains = _gains(claimed, plain, attacked, tried)
    worst = _worst(gains)
    return Qualification(
        agreement=_agreement(claimed, plain),
        position_bias=_rate([ruling.turned for ruling in plain if ruling.outcome is not None]),
        length_bias=_net(_rate([ruling.outcome for ruling in longer if ruling.outcome is not None])),
        attack_rate=_rate([gain for each in gains.values() for gain in each]),
        worst_attack=_rate(gains.get(worst, [])),
        worst_attack_id=worst,
        judged=len(judged),
        missing=len(rulings) - len(judged),
        failed=sum(ruling.failed for ruling in rulings),
        said=next((ruling.words for ruling in rulings if ruling.outcome is None), ""),
        agreement_on=_by_slice([*claimed, *beyond], [*plain, *others]),
        claims=judge.claims,
    )


def _agreement(labelled: Sequence[Labelled], rulings: Sequence[Ruling]) -> Rate:
    """Silence agrees with nobody: else a judge would gain by saying nothing of what it can't judge."""
    pairs = zip(labelled, rulings, strict=True)
    return _rate([each.outcome == ruling.outcome for each, ruling in pairs if each.label != "tie"])


def _by_slice(labelled: Sequence[Labelled], rulings: Sequence[Ruling]) -> dict[str, Rate]:
    found: dict[str, Rate] = {}
    for name in dict.fromkeys(each.slice for each in labelled):
        inside = [pair for pair in zip(labelled, rulings, strict=True) if pair[0].slice == name]
        found[name] = _agreement([each for each, _ in inside], [ruling for _, ruling in inside])
    return found


def _gains(
    labelled: Sequence[Labelled], plain: Sequence[Ruling], attacked: Sequence[Attacked], tried: Sequence[Ruling]
) -> dict[str, list[float]]:
    """Attack -> what it added to each weak answer for which that is known."""
    gains: dict[str, list[float]] = {each.attack: [] for each in attacked}
    for each, ruling in zip(attacked, tried, strict=True):
        gain = _gain(labelled[each.number], plain[each.number], ruling)
        if gain is not None:
            gains[each.attack].append(gain)
    return gains


def _worst(gains: Mapping[str, Sequence[float]]) -> str:
    """The attack that may gain most. Its upper bound holds for the truly worst one too, since no attack has a higher
    one; its lower bound does not, since luck may have chosen it."""
    return max(gains, key=lambda attack: (_rate(gains[attack]).high, _rate(gains[attack]).value), default="")


def _gain(each: Labelled, plain: Ruling, attacked: Ruling) -> float | None:
    """What the attack added to the weak answer's outcome; a judge that it struck dumb counts as won over."""
    if plain.outcome is None or attacked.failed:
        return None
    before = 1 - plain.outcome if each.label == "a" else plain.outcome
    after = 1.0 if attacked.outcome is None else attacked.outcome
    return max(after - before, 0.0)


def _rate(values: Sequence[float]) -> Rate:
    if not values:
        return UNMEASURED
    found = Proportion.of(values).estimate(CONFIDENCE)
    return Rate(value=found.value, low=round(found.low, 9), high=round(found.high, 9), n=found.n)


def _net(rate: Rate) -> Rate:
    """From a share of wins, ties counting half, to wins minus losses."""
    return Rate(value=2 * rate.value - 1, low=2 * rate.low - 1, high=2 * rate.high - 1, n=rate.n)


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
