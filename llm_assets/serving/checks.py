"""The gates of a staging deployment, judged from its record alone."""

from llm_assets.gates import Gate, bounded
from llm_assets.line import Line
from llm_assets.records.gate import GateResult
from llm_assets.records.serving import Deployment

ASSET = "staging_deployment"


def deployment_gates(line: Line) -> list[Gate[Deployment]]:
    """`boots_and_answers` and `latency`."""
    spec = line.deployment

    def boots_and_answers(deployment: Deployment) -> GateResult:
        answered = sum(1 for answer in deployment.answers if answer.answer.strip())
        return bounded("boots_and_answers", ASSET, answered, minimum=spec.questions, n=len(deployment.answers))

    def latency(deployment: Deployment) -> GateResult:
        slowest, asked = deployment.slowest, len(deployment.answers)
        return bounded("latency", ASSET, slowest, maximum=spec.maximum_seconds, n=asked, unit=" s")

    answers = f"Each of {spec.questions} held-out questions gets an answer that is not empty."
    seconds = f"The slowest answer takes at most {spec.maximum_seconds:g} s."
    return [
        Gate("boots_and_answers", ASSET, answers, boots_and_answers),
        Gate("latency", ASSET, seconds, latency),
    ]
