"""What a model was asked before, prompt by prompt: a changed prompt costs one answer, and the others of its set none.

An answer is found by everything that decides it: the model and the code that asks it (the result key of a record in
the artifact store), and the prompt with what it is measured against and how much may be generated (the key of a row).
From which set it came, in which order and under which id does not count.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from llm_assets.evaluation.examples import Example
from llm_assets.evaluation.outputs import FILE, Output, Subject, read_outputs, write_outputs
from llm_assets.records.data import EvaluationKind
from llm_assets.records.record import Record
from resources.store import Artifact, ArtifactStore, digest_of


class Answers(Record):
    """All that one model is known to answer."""

    parts: tuple[Artifact, ...]
    """Each an outputs.jsonl whose ids are prompt keys; every part is larger than the next, so they are few."""


class AnswerCache:
    """The answers of one model, as they were when this was opened and with those added since."""

    def __init__(self, store: ArtifactStore, subject: Subject, code: str) -> None:
        self.store = store
        self.result_key = digest_of({"answers": subject.digest, "code": code})
        self._known = {output.id: output for part in self._parts() for output in read_outputs(self.store.path(part))}

    def missing(self, keys: Sequence[str], examples: Sequence[Example]) -> dict[str, Example]:
        """The prompts that must be asked, each once, by key."""
        return {key: example for key, example in zip(keys, examples, strict=True) if key not in self._known}

    def add(self, answers: Mapping[str, Output]) -> None:
        """Keep answers by prompt key, at once for every other run.

        Of two runs that add at the same moment, the last writer's answers stay; what the other found is asked again.
        """
        if not answers:
            return
        added = {key: replace(output, id=key) for key, output in answers.items()}
        self._known.update(added)
        parts, rows = self._parts(), write_outputs(list(added.values()))
        while parts and parts[-1].size <= len(rows):
            rows = (self.store.path(parts.pop()) / FILE).read_bytes() + rows
        whole = Answers(parts=(*parts, self.store.put_files({FILE: rows})))
        self.store.put_result(self.result_key, whole.save(self.store))

    def outputs(self, keys: Sequence[str], examples: Sequence[Example]) -> list[Output]:
        """The answers to a set of which none is missing, in its order and with its ids."""
        return [replace(self._known[key], id=example.id) for key, example in zip(keys, examples, strict=True)]

    def _parts(self) -> list[Artifact]:
        found = Answers.published(self.store, self.result_key)
        return list(found.parts) if found else []


def prompt_keys(kind: EvaluationKind, examples: Sequence[Example], max_new_tokens: int) -> list[str]:
    """For each example the digest of all that its answer depends on, beside the model."""
    return [
        digest_of(
            {
                "kind": kind,
                "messages": example.messages,
                "reference": example.reference,
                "target": example.target,
                "tokens": max_new_tokens,
            }
        )
        for example in examples
    ]
