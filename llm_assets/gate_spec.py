"""The `gates` of a line: what each requires, how far beyond that a model must surely pass, and at which error rates."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal, Self, get_args

from pydantic import Field, model_validator

from llm_assets.records.data import EvaluationKind
from llm_assets.spec import Bound, Count, ErrorRate, Positive, Section

Metric = Literal[
    "perplexity",
    "win_rate",
    "toxicity",
    "truthfulness",
    "instruction_following",
    "accuracy",
    "exact_match",
    "reasoning",
    "refusal",
    "custom",
    "lm_eval",
]
METRICS_OF: dict[EvaluationKind, tuple[Metric, ...]] = {
    "chat": ("perplexity", "win_rate"),
    "toxicity": ("toxicity",),
    "truthfulness": ("truthfulness",),
    "instructions": ("instruction_following",),
    "multiple_choice": ("accuracy",),
    "questions": ("exact_match",),
    "reasoning": ("reasoning",),
    "refusals": ("refusal",),
    "custom": ("custom",),
    "lm_eval": ("lm_eval",),
}
LOWER_IS_BETTER: frozenset[Metric] = frozenset({"perplexity", "toxicity"})
STOPPABLE: frozenset[Metric] = frozenset(get_args(Metric)) - {"perplexity", "custom", "lm_eval"}
"""Metrics whose samples score 0 or 1, or a win, a tie or a loss: an adaptive set can be stopped for them."""
FEWEST: int = 20
"""Examples below which nothing is decided, unless a gate says otherwise."""
FEWEST_DOCUMENTS: int = 60
"""Of perplexity, whose losses have no bound: if 5% of documents carry one, 60 show none of it in 4.6% of sets."""
Opponent = Literal["base", "champion"]
Side = Literal["minimum", "maximum"]
ALL = "all"
"""The slice that is the whole set."""


class BoundSpec(Section):
    """A threshold on one side of a metric, and the effect that must not be missed."""

    minimum: Bound | None = None
    maximum: Bound | None = None
    minimum_effect: Positive
    """Smallest distance from the threshold, on the good side, at which a model must pass; in the unit of the bound."""

    @model_validator(mode="after")
    def _has_one_side(self) -> Self:
        if (self.minimum is None) == (self.maximum is None):
            raise ValueError("a bound needs either `minimum` or `maximum`")
        return self

    @property
    def side(self) -> Side:
        """Which side of the threshold is bad: below a minimum, above a maximum."""
        return "maximum" if self.minimum is None else "minimum"

    @property
    def threshold(self) -> float:
        """The worst value that is still allowed."""
        return self.maximum if self.minimum is None else self.minimum  # type: ignore[return-value]


class ChangeSpec(BoundSpec):
    """A bound on the candidate compared with another model on the same examples, paired.

    The ratio for perplexity, the win rate for win_rate, the difference for everything else.
    """

    against: Literal["base", "champion", "both"]

    @property
    def opponents(self) -> tuple[Opponent, ...]:
        """Whom the candidate is compared with."""
        return ("base", "champion") if self.against == "both" else (self.against,)


class GateSpec(Section):
    """One gate: a bound on the candidate's own value, on its change against other models, or both.

    A model that is exactly at a threshold passes with a probability of at most `false_pass`; one that is better than
    every threshold by its minimum effect, of this gate and of the others that can stop a release, fails to pass with at
    most `false_fail`. Before anything trains the gate's
    calibration measures both; a gate that can't keep its promise with the examples it has stops the run.
    """

    metric: Metric
    set: str = ""
    """Which set, where several have the metric."""
    value: BoundSpec | None = None
    change: ChangeSpec | None = None
    slices: list[Annotated[str, Field(pattern=r"^[a-z_]+=.+$")]] = []
    """For example `language=chinese`: every bound must hold there as well."""
    false_pass: ErrorRate = 0.05
    false_fail: ErrorRate = 0.20
    minimum_n: Count | None = None
    """Examples, of the set and of each slice, below which nothing is decided; by default 20, and 60 of perplexity."""
    advisory: bool = False
    """Shown and never in the way: neither its outcome nor a lack of power stops anything."""

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        bounds = [bound for bound in (self.value, self.change) if bound is not None]
        if not bounds:
            raise ValueError("a gate needs a bound: `value`, `change` or both")
        if self.metric == "win_rate" and self.value is not None:
            raise ValueError("nobody wins alone: win_rate takes `change`, not `value`")
        good = "maximum" if self.metric in LOWER_IS_BETTER else "minimum"
        if any(bound.side != good for bound in bounds):
            better = "lower" if good == "maximum" else "higher"
            raise ValueError(f"{self.metric} is better when it is {better}: its bounds take `{good}`")
        self._check_reach()
        return self

    @property
    def holds_for_the_first_release(self) -> bool:
        """Whether it asks for anything while there is no champion."""
        return self.value is not None or (self.change is not None and "base" in self.change.opponents)

    @property
    def fewest(self) -> int:
        """Examples below which nothing is decided."""
        return self.minimum_n or (FEWEST_DOCUMENTS if self.metric == "perplexity" else FEWEST)

    def _check_reach(self) -> None:
        """Refuse bounds that no model can be beyond by the minimum effect."""
        for kind, bound in (("value", self.value), ("change", self.change)):
            if bound is None:
                continue
            low, high = self._range(kind)
            sign = 1 if bound.side == "minimum" else -1
            sufficient = bound.threshold + sign * bound.minimum_effect
            if not low <= bound.threshold <= high or not low <= sufficient <= high:
                found = f"{bound.side} {bound.threshold:g} with minimum_effect {bound.minimum_effect:g}"
                raise ValueError(f"{kind}: {self.metric} lies between {low:g} and {high:g}, but {found} leads outside")

    def _range(self, kind: str) -> tuple[float, float]:
        if self.metric == "perplexity":
            return (1.0, float("inf")) if kind == "value" else (1e-9, float("inf"))
        return (-1.0, 1.0) if kind == "change" and self.metric != "win_rate" else (0.0, 1.0)


@dataclass(frozen=True)
class Requirement:
    """One thing that a gate requires: a bound, alone or against one model, on the whole set or on one slice."""

    gate: str
    metric: Metric
    set: str
    slice: str
    against: Opponent | Literal[""]
    side: Side
    threshold: float
    minimum_effect: float
    false_pass: float
    minimum_n: int
    adaptive: bool = False
    """Its set is asked in rounds until it is decided."""

    @property
    def sufficient(self) -> float:
        """The value at which a model must pass: the threshold and the minimum effect beyond it."""
        sign = 1 if self.side == "minimum" else -1
        return self.threshold + sign * self.minimum_effect

    @property
    def identity(self) -> float | None:
        """The value that a model gets against its equal; None if it is compared with nothing."""
        if not self.against:
            return None
        return {"perplexity": 1.0, "win_rate": 0.5}.get(self.metric, 0.0)

    @property
    def bound(self) -> str:
        """For people, for example `>= 0.5`."""
        return f"{'>=' if self.side == 'minimum' else '<='} {self.threshold:g}"

    @property
    def subject(self) -> str:
        """For people: what is bounded, where the gate's name does not say it already."""
        against = f" against the {self.against}" if self.against else ""
        return f"{self.metric.replace('_', ' ')}{against}{'' if self.slice == ALL else f' on {self.slice}'}"

    def too_few(self, n: int) -> str:
        """Why n examples decide nothing, as a sentence without a full stop; empty if they are enough."""
        few = (
            f"{n} independent examples are too few, at least {self.minimum_n} are needed ({self.subject}); those of "
            "one document or prompt count once"
        )
        return few if n < self.minimum_n else ""


def requirements_of(name: str, spec: GateSpec, set_name: str, adaptive: bool = False) -> Iterator[Requirement]:
    """Everything that one gate requires: its bounds on the set and on each of its slices, in this order.

    Args:
        set_name: the evaluation set that has the gate's metric.
        adaptive: whether that set is.
    """
    bounds: list[tuple[Opponent | Literal[""], BoundSpec]] = []
    if spec.value is not None:
        bounds.append(("", spec.value))
    if spec.change is not None:
        bounds += [(opponent, spec.change) for opponent in spec.change.opponents]
    for slice_name in (ALL, *spec.slices):
        for against, bound in bounds:
            yield Requirement(
                gate=name,
                metric=spec.metric,
                set=set_name,
                slice=slice_name,
                against=against,
                side=bound.side,
                threshold=bound.threshold,
                minimum_effect=bound.minimum_effect,
                false_pass=spec.false_pass,
                minimum_n=spec.fewest,
                adaptive=adaptive,
            )
