"""The verdict: every gate of one candidate, judged again from the records and signed."""

from collections.abc import Sequence
from dataclasses import dataclass

from llm_assets.data.checks import dataset_gates
from llm_assets.evaluation.calibration_checks import calibration_gates
from llm_assets.evaluation.checks import evaluation_gates
from llm_assets.evaluation.policy import evaluation_policy
from llm_assets.gates import Gate
from llm_assets.line import Line
from llm_assets.records.data import DatasetVersion, EvaluationSets
from llm_assets.records.evaluation import EvaluationReport, GateCalibration
from llm_assets.records.gate import GateResult
from llm_assets.records.record import Record
from llm_assets.records.release import Verdict
from llm_assets.records.training import BaseModelVersion, Checkpoint
from llm_assets.training.checks import checkpoint_gates
from resources.errors import GuardError
from resources.signing import Signer
from resources.store import digest_of


@dataclass(frozen=True)
class Candidate:
    """The records that a verdict is about."""

    dataset: DatasetVersion
    base_model: BaseModelVersion
    checkpoint: Checkpoint
    report: EvaluationReport
    calibration: GateCalibration
    sets: EvaluationSets

    def mismatch(self) -> str:
        """Why these records do not belong together; empty if they do."""
        report, checkpoint, calibration = self.report, self.checkpoint, self.calibration
        exam, newest, reports = "evaluation report", "the newest", "the evaluation report's"
        expected = [
            ("checkpoint", "dataset", checkpoint.dataset, newest, self.dataset.digest),
            ("checkpoint", "base model", checkpoint.base_model, newest, self.base_model.digest),
            (exam, "checkpoint", report.checkpoint, newest, checkpoint.digest),
            (exam, "gate calibration", report.calibration, newest, calibration.digest),
            (exam, "evaluation sets", report.evaluation_sets, newest, self.sets.digest),
            (exam, "dataset", report.dataset, newest, self.dataset.digest),
            (exam, "base model", report.base_model, newest, self.base_model.digest),
            (exam, "prompt", report.prompt, "the checkpoint's", checkpoint.prompt),
        ]
        for name in ("base_model", "prompt", "evaluation_sets", "judge", "champion"):
            what = name.replace("_", " ")
            expected.append(("gate calibration", what, getattr(calibration, name), reports, getattr(report, name)))
        for holder, what, found, whose, wanted in expected:
            if found != wanted:
                known, other = found[:12] or "(none)", wanted[:12] or "(none)"
                return f"the {holder} was made from {what} {known}, but {whose} is {other}"
        return ""


def judge(line: Line, candidate: Candidate) -> list[GateResult]:
    """Every gate of the line, in the order the data flows; those of the evaluation with their measured error rates."""
    stages: list[tuple[Sequence[Gate], Record]] = [
        (dataset_gates(line), candidate.dataset),
        (calibration_gates(line), candidate.calibration),
        (checkpoint_gates(line), candidate.checkpoint),
        (evaluation_gates(line), candidate.report),
    ]
    results = [gate.judge(record) for gates, record in stages for gate in gates]
    known = {
        gate.gate: {"false_pass": gate.false_pass, "false_fail": gate.false_fail}
        for gate in candidate.calibration.gates
    }
    # a gate of which nothing holds yet measured nothing: it has no error rate to show
    measured = [r.asset == "evaluation_report" and r.n is not None for r in results]
    return [
        result.model_copy(update=known.get(result.gate, {})) if shown else result
        for result, shown in zip(results, measured, strict=True)
    ]


def policy_digest(line: Line) -> str:
    """Digest of everything in a line that decides what its gates say."""
    return digest_of(
        {
            "evaluation": evaluation_policy(line),
            "data": line.data.model_dump(mode="json", exclude={"repo", "rev"}),
        }
    )


def subject_of(line: Line, candidate: Candidate) -> dict[str, str]:
    """Name -> digest of everything that the verdict is bound to."""
    return {
        "adapter": candidate.checkpoint.adapter.digest,
        "checkpoint": candidate.checkpoint.digest,
        "base_model": candidate.base_model.digest,
        "base_files": candidate.base_model.files.digest,
        "tokenizer": candidate.base_model.tokenizer,
        "chat_template": candidate.base_model.chat_template,
        "prompt": candidate.checkpoint.prompt,
        "dataset": candidate.dataset.digest,
        "evaluation_sets": candidate.report.evaluation_sets,
        "judge": candidate.report.judge,
        "gate_calibration": candidate.calibration.digest,
        "evaluation_report": candidate.report.digest,
        "gate_policy": policy_digest(line),
    }


def sign_verdict(line: Line, candidate: Candidate, signer: Signer) -> Verdict:
    """Judge a candidate and sign what came out, pass or not.

    Raises:
        GuardError: the records belong to different candidates.
    """
    if mismatch := candidate.mismatch():
        raise GuardError(f"{line.name}: no verdict, {mismatch}; run the job {line.name}_continuous_training.")
    gates = judge(line, candidate)
    unsigned = Verdict(
        line=line.name,
        passed=not any(gate.blocks for gate in gates),
        gates=gates,
        subject=subject_of(line, candidate),
        key_id=signer.key_id,
        signature="",
    )
    return unsigned.model_copy(update={"signature": signer.sign(unsigned.signed_content())})


def verify_verdict(verdict: Verdict, signer: Signer) -> None:
    """Check a verdict's signature and that it lets its subject through.

    Raises:
        GuardError: not signed by this instance, changed since, or not a pass; names the failed gates.
    """
    try:
        signer.verify(verdict.signed_content(), verdict.signature, verdict.key_id)
    except GuardError as error:
        raise GuardError(f"{verdict.line}: verdict {verdict.short}: {error}") from error
    failed = [gate for gate in verdict.gates if gate.blocks]
    if failed or not verdict.passed or not verdict.gates:
        raise GuardError(
            f"{verdict.line}: verdict {verdict.short} is not a pass: {explain(failed) or 'it has no gates'}."
        )


def explain(gates: list[GateResult]) -> str:
    """Failed gates in one line: `gate NAME on ASSET: OUTCOME: reason`."""
    return "; ".join(f"gate {g.gate} on {g.asset}: {g.outcome}: {g.reason.rstrip('.')}" for g in gates if g.blocks)
