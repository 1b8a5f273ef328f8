"""What of a line decides what its evaluation gates say, as one digest. Light: checks, verdict and guard compare it."""

from llm_assets.evaluation_spec import PATIENCE
from llm_assets.line import Line
from resources.store import digest_of


def evaluation_policy(line: Line) -> str:
    """Digest of the line's gates, of how its sets are asked and scored, and of what its judge must be worth."""
    return digest_of(
        {
            "gates": {name: gate.model_dump(mode="json") for name, gate in line.gates.items()},
            "sets": {name: spec.model_dump(mode="json") for name, spec in line.evaluation.sets.items()},
            "judge": line.evaluation.judge.model_dump(mode="json", exclude=PATIENCE),
        }
    )
