"""`python -m llm_assets.show LINE`: what serves, why it was let through, and an answer fetched from it."""

import shlex
import sys
from pathlib import Path

from llm_assets.line import load_line
from llm_assets.records.evaluation import EvaluationReport
from llm_assets.records.gate import GateResult
from llm_assets.records.release import Release, Verdict
from llm_assets.release_log import champion
from resources.errors import PlatformError
from resources.serving import LocalServing
from resources.settings import Settings
from resources.store import ArtifactStore

QUESTION = "What is the capital of France?"


def summary(settings: Settings, line_name: str) -> str:
    """Perplexity, gates, release and report of the champion, as text.

    Raises:
        StoreError: nothing was promoted yet, or its records are gone.
    """
    line = load_line(settings.lines_dir / f"{line_name}.yaml")
    store = ArtifactStore(settings.store_url, settings.home / "cache")
    release = champion(store, line.name)
    if release is None:
        raise PlatformError(f"{line.name} has no release in production yet; run the job {line.name}_ship.")
    verdict = Verdict.load(store, release.verdict)
    report = EvaluationReport.load(store, verdict.subject["evaluation_report"])
    return "\n".join([*_perplexities(report), "", *_gates(verdict), "", *_names(store, release, report)])


def ask(settings: Settings, line_name: str, question: str = QUESTION) -> str:
    """One answer over HTTP from the running gateway, and the command that repeats it."""
    url = LocalServing(settings.serving_dir).gateway_url(line_name)
    messages = [{"role": "user", "content": question}]
    answer, seconds = LocalServing(settings.serving_dir).ask(url, messages, max_tokens=32)
    body = f'{{"messages": [{{"role": "user", "content": "{question}"}}], "max_tokens": 32}}'
    command = f"curl -s {url}/v1/chat/completions -H 'content-type: application/json' -d {shlex.quote(body)}"
    return f"Asked    {question}\nAnswer   {answer.strip()}  ({seconds:.1f} s)\nAgain    {command}"


def _perplexities(report: EvaluationReport) -> list[str]:
    lines = ["Held-out perplexity (lower is better)"]
    for model in ("base", "candidate"):
        found = report.find("perplexity" if model == "candidate" else "base_perplexity")
        if found:
            lines.append(f"  {model:10} {found.value:8.2f}   [{found.low:.2f}, {found.high:.2f}]   n = {found.n}")
    return lines


def _gates(verdict: Verdict) -> list[str]:
    width = max(len(gate.gate) for gate in verdict.gates)
    rows = [f"  {gate.outcome:12} {gate.gate:{width}}  {gate.reason}{_error_rates(gate)}" for gate in verdict.gates]
    return [f"Gates    {sum(g.passed for g in verdict.gates)} of {len(verdict.gates)} pass", *rows]


def _error_rates(gate: GateResult) -> str:
    """How often a calibrated gate errs; empty for one that has no chance in it."""
    if gate.false_pass is None or gate.false_fail is None:
        return ""
    return f" Errs: {gate.false_pass.value:.1%} pass wrongly, {gate.false_fail.value:.1%} fail wrongly."


def _names(store: ArtifactStore, release: Release, report: EvaluationReport) -> list[str]:
    return [
        f"Release  {release.name}  {release.digest}",
        f"Report   {store.path(report.page) / 'report.html'}",
    ]


def main() -> None:
    """Print the summary and one answer; exit status 1 with one clear line if there is none."""
    settings = Settings.from_env()
    line = sys.argv[1] if len(sys.argv) > 1 else "assistant"
    try:
        print(f"\n{summary(settings, Path(line).stem)}\n\n{ask(settings, line)}")
    except PlatformError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
