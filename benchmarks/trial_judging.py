"""How the line's own gates judge one model of the trial beside another; and how gates on point estimates would."""

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.trial_models import Made
from llm_assets.evaluation.assessment import Assessment, assess
from llm_assets.evaluation.checks import evaluation_gates
from llm_assets.evaluation.evaluate import Evaluator
from llm_assets.evaluation.page import publish
from llm_assets.evaluation.preparation import CODE, judge_of, subjects_of
from llm_assets.evaluation.request import EvaluationRequest
from llm_assets.line import Line
from llm_assets.records.evaluation import EvaluationReport, Identity
from llm_assets.records.gate import GateOutcome
from llm_assets.records.training import Checkpoint
from llm_assets.training.checks import checkpoint_gates
from resources.settings import Settings
from resources.store import ArtifactStore


@dataclass(frozen=True)
class Judged:
    """What became of one candidate; by gate."""

    outcomes: Mapping[str, GateOutcome]
    points: Mapping[str, bool]
    """Whether its point estimates alone are on the good side, which is all that most gates elsewhere ask for."""
    slices: tuple[str, ...]
    """Requirements on a slice that do not pass."""


class Court:
    """Judges checkpoints that share everything but their adapters."""

    def __init__(self, line: Line, settings: Settings, store: ArtifactStore, made: Made) -> None:
        self.line = line
        self.store = store
        self.made = made
        self.embedder, self.judge = judge_of(line, settings)

    def judge_one(self, candidate: Checkpoint, champion: Checkpoint) -> Judged:
        """By every gate from the training on, as a second release would be."""
        report = self._report(candidate, champion)
        results = [gate.judge(candidate) for gate in checkpoint_gates(self.line)]
        results += [gate.judge(report) for gate in evaluation_gates(self.line)]
        found = assess(self.line, report)
        return Judged(
            outcomes={result.gate: result.outcome for result in results},
            points={
                name: all(map(_beyond, [one for one in found if one.requirement.gate == name]))
                for name in self.line.gates
            },
            slices=tuple(
                f"{one.requirement.gate} on {one.requirement.slice}"
                for one in found
                if one.requirement.slice != "all" and one.outcome != "PASS"
            ),
        )

    def _report(self, candidate: Checkpoint, champion: Checkpoint) -> EvaluationReport:
        base_model, prompt, sets = self.made.base_model, self.made.prompt, self.made.evaluation_sets
        request = EvaluationRequest(
            store_url=self.store.url,
            store_cache=str(self.store.cache),
            line=self.line,
            subjects={
                **subjects_of(self.store, base_model, prompt, candidate, None),
                "champion": subjects_of(self.store, base_model, prompt, champion, None)["candidate"],
            },
            sets=sets,
            embedder=self.embedder,
            judge=self.judge,
            code=CODE,
            curve=candidate.curve,
            champion_name=champion.short,
            identity=Identity(
                checkpoint=candidate.digest,
                base_model=base_model.digest,
                prompt=prompt.digest,
                dataset=self.made.dataset.digest,
                evaluation_sets=sets.digest,
                judge=self.judge,
                champion=champion.digest,
                calibration=self.made.gate_calibration.digest,
            ),
            calibration=self.made.gate_calibration,
        )
        evaluator = Evaluator(request, lambda _: None)
        measured, measurements = evaluator.measured()
        status = evaluator.judging.status(measured)
        return publish(request, self.store, measurements, measured, status, evaluator.saved)


def _beyond(one: Assessment) -> bool:
    wanted, found = one.requirement, one.evidence
    if found is None:
        return False
    return found.value >= wanted.threshold if wanted.side == "minimum" else found.value <= wanted.threshold
