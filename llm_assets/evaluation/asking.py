"""Asking models: a base model is loaded once and its adapters are switched, and nothing is asked twice."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tqdm import tqdm

from llm_assets.evaluation.answers import AnswerCache, prompt_keys
from llm_assets.evaluation.examples import Example
from llm_assets.evaluation.outputs import FILE, Output, Outputs, Solver, Subject, answers_wanted, write_outputs
from llm_assets.evaluation.request import ScoringRequest
from resources.errors import EvaluationError
from resources.store import digest_of

Log = Callable[[str], Any]
"""Takes one line for the run's log."""


@dataclass
class Loaded:
    """The base model in memory, with the adapters that have been attached."""

    base: str
    tokenizer: Any
    model: Any
    attached: set[str] = field(default_factory=set)


class Asking:
    """The models of one evaluation, and what they said."""

    def __init__(self, request: ScoringRequest, examples: dict[str, list[Example]], log: Log) -> None:
        self.request = request
        self.store = request.store
        self.examples = examples
        """Set -> its examples; of an adaptive set those that are asked so far."""
        self.log = log
        self.answers: dict[str, AnswerCache] = {}
        """Subject digest -> what it was asked before."""
        self.loaded: Loaded | None = None
        self.computed = {"outputs": 0, "answers": 0}

    def ask(self, set_names: Sequence[str]) -> None:
        """Make the outputs that are missing, loading a base model at most once, and only to ask something new."""
        missing: dict[str, list[tuple[str, Subject, str]]] = {}
        seen: set[str] = set()
        for model, subject in self.request.subjects.items():
            for name in set_names:
                key = self._output_key(subject, name)
                if key not in seen and Outputs.published(self.store, key) is None:
                    if self._unasked(subject, name):
                        missing.setdefault(subject.base.digest, []).append((model, subject, name))
                    else:
                        self._publish_outputs(subject, name)
                seen.add(key)
        for work in missing.values():
            self._ask_one_base(work)

    def _ask_one_base(self, work: Sequence[tuple[str, Subject, str]]) -> None:
        from llm_assets.language_model import attach_adapter, load_model, load_tokenizer

        digest = work[0][1].base.digest
        if self.loaded is None or self.loaded.base != digest:
            base = self.store.path(work[0][1].base)
            self.loaded = None  # two models at once may not fit
            self.loaded = Loaded(digest, load_tokenizer(base), load_model(base))
        loaded = self.loaded
        for name, subject, set_name in work:
            if subject.adapter and subject.adapter.digest not in loaded.attached:
                adapter = self.store.path(subject.adapter)
                loaded.model = attach_adapter(loaded.model, adapter, subject.adapter.digest)
                loaded.attached.add(subject.adapter.digest)
            unasked = self._unasked(subject, set_name)
            progressing = self._progress(name, set_name, len(unasked))
            with _speaking_as(loaded.model, subject, adapted=bool(loaded.attached)), progressing as progress:
                batch = self.request.line.evaluation.batch_size
                solver = Solver(loaded.model, loaded.tokenizer, subject.system, batch, progress)
                outputs = self._solved(solver, set_name, list(unasked.values()))
            self._answers(subject).add(dict(zip(unasked, outputs, strict=True)))
            self._publish_outputs(subject, set_name)
            self.computed["outputs"] += 1
            self.computed["answers"] += len(unasked)

    def _solved(self, solver: Solver, set_name: str, examples: list[Example]) -> list[Output]:
        spec = self.request.line.evaluation.sets[set_name]
        if spec.kind == "lm_eval":
            return solver.run_harness(self.store.path(self.request.sets.sets[set_name].rows), examples)
        return solver.solve(spec.kind, examples, spec.max_new_tokens)

    def _answers(self, subject: Subject) -> AnswerCache:
        if subject.digest not in self.answers:
            self.answers[subject.digest] = AnswerCache(self.store, subject, self.request.code["outputs"])
        return self.answers[subject.digest]

    def _prompt_keys(self, set_name: str) -> list[str]:
        spec = self.request.line.evaluation.sets[set_name]
        return prompt_keys(spec.kind, self.examples[set_name], spec.max_new_tokens)

    def _unasked(self, subject: Subject, set_name: str) -> dict[str, Example]:
        """The prompts of a set that this model was never asked, by key."""
        return self._answers(subject).missing(self._prompt_keys(set_name), self.examples[set_name])

    def _publish_outputs(self, subject: Subject, set_name: str) -> None:
        outputs = self._answers(subject).outputs(self._prompt_keys(set_name), self.examples[set_name])
        rows = self.store.put_files({FILE: write_outputs(outputs)})
        self.store.put_result(self._output_key(subject, set_name), Outputs(rows=rows).save(self.store))

    @contextmanager
    def _progress(self, model: str, set_name: str, examples: int) -> Iterator[Callable[[int], Any]]:
        total = answers_wanted(self.request.sets.sets[set_name].kind, examples)
        start = time.monotonic()
        with tqdm(total=total, desc=f"{model} on {set_name}", unit="answer", mininterval=1) as bar:
            yield bar.update
        self.log(f"{model} on {set_name}: {total} answers in {time.monotonic() - start:.1f} s")

    def outputs(self, subject: Subject, set_name: str) -> Outputs:
        """What a model said to a set, after it was asked.

        Raises:
            EvaluationError: it is gone from the store.
        """
        found = Outputs.published(self.store, self._output_key(subject, set_name))
        if found is None:
            raise EvaluationError("outputs that were just written are gone from the store; run this again.")
        return found

    def _output_key(self, subject: Subject, set_name: str) -> str:
        found = self.request.sets.sets[set_name]
        return digest_of(
            {
                "model": subject.digest,
                "kind": found.kind,
                "set": found.rows.digest,
                "examples": [example.id for example in self.examples[set_name]],
                "tokens": self.request.line.evaluation.sets[set_name].max_new_tokens,
                "code": self.request.code["outputs"],
            }
        )


@contextmanager
def _speaking_as(model: Any, subject: Subject, adapted: bool) -> Iterator[None]:
    """Switch to the subject's adapter, or to the base below the adapters that are attached."""
    if subject.adapter is not None:
        model.set_adapter(subject.adapter.digest)
        yield
    elif adapted:
        with model.disable_adapter():
            yield
    else:
        yield
