"""What both assets of this stage hand to their child processes: versions of the code, the judge, the models."""

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from llm_assets.code_version import code_version
from llm_assets.evaluation.judge_digest import judge_digest
from llm_assets.evaluation.outputs import Subject
from llm_assets.line import Line
from llm_assets.records.release import Release
from llm_assets.records.training import BaseModelVersion, Checkpoint, Prompt
from resources.packaged import locate
from resources.settings import Settings
from resources.store import ArtifactStore, digest_of

FOLDER = "llm_assets/evaluation"
ASKED_WITH = ("torch", "transformers", "tokenizers", "peft", "lm-eval")
"""Packages that decide what a model answers, beside the platform's own code."""
SCORED_WITH = (
    "alt-profanity-check",
    "emoji",
    "if-verifiable",
    "langdetect",
    "nltk",
    "reasoning-gym",
    "scikit-learn",
    "syllapy",
    "sympy",
)
"""Packages that decide what an answer scores: the tasks' identities."""
OUTPUTS_SOURCES = (
    "llm_assets/choices.py",
    "llm_assets/generation.py",
    "llm_assets/harness.py",
    "llm_assets/language_model.py",
    *(f"{FOLDER}/{name}.py" for name in ("answers", "asking", "examples", "outputs")),
)
SCORES_SOURCES = (
    "llm_assets/data/text.py",
    "resources/judge.py",
    *(
        f"{FOLDER}/{name}.py"
        for name in (
            "bounded",
            "chat_judge",
            "custom",
            "estimates",
            "exact_match",
            "examples",
            "instruction_following",
            "judge",
            "judging",
            "lm_eval_task",
            "measurements",
            "multiple_choice",
            "pairs",
            "perplexity",
            "proportions",
            "qualification",
            "ratios",
            "reasoning",
            "refusal",
            "sequential",
            "task",
            "toxicity",
            "truthfulness",
            "unconditional",
            "win_rate",
        )
    ),
)
REPORT_SOURCES = (
    FOLDER,
    "llm_assets/data/text.py",
    "resources/judge.py",
    *(
        f"llm_assets/{name}.py"
        for name in (
            "choices",
            "evaluation_spec",
            "gate_spec",
            "gates",
            "generation",
            "harness",
            "language_model",
            "line",
            "plots",
        )
    ),
)


def versions_of(sources: Sequence[str], packages: Sequence[str]) -> str:
    """Digest of code and of the packages that it works with, as they are installed; none of them is imported."""
    return digest_of({"code": code_version(*sources), "packages": {name: _installed(name) for name in packages}})[:16]


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""  # needed only by some kinds of set


OUTPUTS_CODE = versions_of(OUTPUTS_SOURCES, ASKED_WITH)
SCORES_CODE = code_version(*SCORES_SOURCES)  # a task's identity has the versions of what scores for it
REPORT_CODE = versions_of(REPORT_SOURCES, (*ASKED_WITH, *SCORED_WITH))
CODE = {"outputs": OUTPUTS_CODE, "scores": SCORES_CODE}


def judge_of(line: Line, settings: Settings) -> tuple[str, str]:
    """Folder of the embedding judge's model, empty for a chat judge, and the judge's digest."""
    spec = line.evaluation.judge
    folder = locate(spec.embedder, settings.resolve) if spec.kind == "embedding" else None
    return str(folder or ""), judge_digest(spec, folder)


def settings_of(line: Line) -> dict[str, Any]:
    """What of a line decides what is measured and shown."""
    return {
        "gates": {name: gate.model_dump(mode="json") for name, gate in line.gates.items()},
        "evaluation": line.evaluation.model_dump(mode="json", exclude={"repo", "rev"}),
    }


def subjects_of(
    store: ArtifactStore,
    base_model: BaseModelVersion,
    prompt: Prompt,
    checkpoint: Checkpoint | None,
    champion: Release | None,
) -> dict[str, Subject]:
    """The models to ask: the base, and of candidate and champion those there are."""
    subjects = {"base": Subject(base=base_model.files, adapter=None, system=prompt.system)}
    if checkpoint is not None:
        subjects["candidate"] = Subject(base=base_model.files, adapter=checkpoint.adapter, system=prompt.system)
    if champion is not None:
        system = Prompt.load(store, champion.prompt).system
        subjects["champion"] = Subject(base=champion.base_files, adapter=champion.adapter, system=system)
    return subjects
