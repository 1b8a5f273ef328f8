"""The model card of a release, in Markdown."""

from llm_assets.line import Line
from llm_assets.records.gate import GateResult, Rate
from llm_assets.records.release import Verdict
from llm_assets.release.verdict import Candidate


def gate_table(gates: list[GateResult]) -> str:
    """Gates as a Markdown table, with the measured error rates of those that have been calibrated."""

    def rate(found: Rate | None) -> str:
        return f"{found.value:.1%} [{found.low:.1%}, {found.high:.1%}]" if found else ""

    rows = [
        f"| {g.gate} | {g.asset} | {g.outcome}{' (advisory)' if g.advisory else ''} | {g.reason} "
        f"| {rate(g.false_pass)} | {rate(g.false_fail)} |"
        for g in gates
    ]
    header = ["| gate | on | outcome | measured | false pass | false fail |", "|---|---|---|---|---|---|"]
    return "\n".join([*header, *rows])


def model_card(line: Line, name: str, candidate: Candidate, verdict: Verdict) -> str:
    """What the release is, what it was made from, and what was measured before it was let through."""
    data, checkpoint = candidate.dataset, candidate.checkpoint
    languages = ", ".join(f"{language} {count}" for language, count in sorted(data.languages.items()))
    digests = "\n".join(f"| {what} | `{digest}` |" for what, digest in sorted(verdict.subject.items()))
    settings = ", ".join(f"{key} {value}" for key, value in checkpoint.training.items())
    return f"""# {name}

{line.description}

- Base model: `{candidate.base_model.source}`, {candidate.base_model.parameters:,} parameters
- Training data: registry commit `{data.commit}`, {data.train} records to train, {data.validation} to validate;
  {data.duplicates} duplicates and {sum(data.rejected.values())} rejected rows were left out ({languages})
- Training: LoRA, {checkpoint.steps} steps; validation loss {checkpoint.first_validation_loss:.4f} to
  {checkpoint.final_validation_loss:.4f} nats per answer token; {settings}
- MLflow run: `{checkpoint.mlflow_run_id}`

## Gates

A false pass is a model at a gate's threshold that passes, a false fail one that is better by the gate's minimum effect
and does not: both as counted on simulated models before the training, with 95% bounds.

{gate_table(verdict.gates)}

## Digests the verdict is bound to

| what | sha256 |
|---|---|
{digests}
"""
