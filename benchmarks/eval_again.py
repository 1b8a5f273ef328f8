"""eval-again: one of 1,000 prompts changes after all were measured; against lm-eval with its cache.

Both sides measure the four answers to every question once, into a cache of their own. A round then changes one more
question and evaluates all again: it loads the model, finds what it knows, measures the one and gives all of them back.
"""

import json
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.benchmark import Benchmark, Setting, Side, Work
from benchmarks.quiz import Item, quiz
from llm_assets.evaluation.answers import AnswerCache, prompt_keys
from llm_assets.evaluation.examples import Example
from llm_assets.evaluation.outputs import FILE, Output, Subject, write_outputs
from resources.store import Artifact, ArtifactStore

BATCH = 16
SEED = 11
EQUAL = 1e-4
"""Nats, as in eval-prefix."""
LogProbabilities = list[list[float]]
"""Of each question's answers, in nats."""


def _items(size: int, changed: int) -> list[Item]:
    """The questions of a round: this many of the first ones are others than in round 0."""
    return [*quiz(changed, SEED + 1), *quiz(size, SEED)[changed:]]


def _ours(setting: Setting) -> Work:
    from llm_assets.choices import choice_losses
    from llm_assets.language_model import load_model, load_tokenizer

    def measured(items: list[Item]) -> Iterator[Output]:
        model, tokenizer = load_model(setting.model), load_tokenizer(setting.model)

        def ids(text: str) -> list[int]:
            found: list[int] = tokenizer.encode(text, add_special_tokens=False)
            return found

        questions = [(ids(item.question), [ids(answer) for answer in item.answers]) for item in items]
        for losses in choice_losses(model, tokenizer, questions, BATCH):
            yield Output("", losses={str(index): (loss, 1) for index, loss in enumerate(losses)})

    def evaluate(items: list[Item]) -> LogProbabilities:
        store = ArtifactStore(str(setting.folder / "store"), setting.folder / "cache")
        subject = Subject(base=Artifact(digest=setting.model.name, files=1, size=1), adapter=None, system="")
        examples = [
            Example(f"p{n}", [{"role": "user", "content": item.question}], target={"choices": item.answers})
            for n, item in enumerate(items)
        ]
        keys = prompt_keys("multiple_choice", examples, 1)
        answers = AnswerCache(store, subject, "benchmark")
        missing = answers.missing(keys, examples)
        asked = dict(zip(keys, items, strict=True))
        answers.add(dict(zip(missing, measured([asked[key] for key in missing]), strict=True)))
        outputs = answers.outputs(keys, examples)
        store.put_files({FILE: write_outputs(outputs)})
        return [[-(loss or 0.0) for loss, _ in output.losses.values()] for output in outputs]

    return _ready(setting, "llm_assets", evaluate)


def _lm_eval(setting: Setting) -> Work:
    from lm_eval.api.instance import Instance
    from lm_eval.api.model import CachingLM
    from lm_eval.models.huggingface import HFLM

    from llm_assets.language_model import load_model, load_tokenizer

    def evaluate(items: list[Item]) -> LogProbabilities:
        tokenizer = load_tokenizer(setting.model)
        model = load_model(setting.model)
        # In fp32 its softmax over SmolLM2's 49,152 tokens is off by up to 1.2e-4 nats for an answer of 8 tokens.
        lm = HFLM(pretrained=model, tokenizer=tokenizer, backend="causal", batch_size=BATCH, softmax_dtype="float64")
        cached = CachingLM(lm, str(setting.folder / "lm_eval.db"))
        requests = [
            Instance("loglikelihood", {}, (item.question, answer), number)
            for number, item in enumerate(items)
            for answer in item.answers
        ]
        found = [total for total, _ in cached.loglikelihood(requests)]
        cached.dbdict.close()
        return [found[start : start + 4] for start in range(0, len(found), 4)]

    return _ready(setting, "lm-eval", evaluate)


def _ready(setting: Setting, side: str, evaluate: Any) -> Work:
    """Before the first round: everything once, which is the full evaluation that a round is compared with."""
    from llm_assets.choices import choice_losses
    from llm_assets.language_model import load_model, load_tokenizer

    # transformers imports most of itself when it first loads and runs; imports are on neither side's account.
    choice_losses(load_model(setting.model), load_tokenizer(setting.model), [([1], [[1], [2]])], 1)
    full = setting.folder / f"{side} full.json"
    if not full.exists():
        start = time.process_time()
        evaluate(_items(setting.size, 0))
        full.write_text(json.dumps(time.process_time() - start))
    changed = _items(setting.size, setting.round + 1)
    return lambda: evaluate(changed)


def _agree(ours: Any, theirs: Any) -> str:
    gaps = [abs(a - b) for mine, other in zip(ours, theirs, strict=True) for a, b in zip(mine, other, strict=True)]
    assert max(gaps) <= EQUAL, f"log-probabilities differ by {max(gaps):.1e}"
    return f"{len(gaps)} log-probabilities, largest difference {max(gaps):.1e} nats"


def _facts(setting: Setting, ours: float, theirs: float) -> list[str]:
    lines = []
    for side, again in (("llm_assets", ours), ("lm-eval", theirs)):
        full = json.loads((setting.folder / f"{side} full.json").read_text())
        lines.append(
            f"A full evaluation, once, took {side} {full:.1f} CPU seconds; again is {again / full:.2%} of that."
        )
    return lines


BENCHMARK = Benchmark(
    name="eval-again",
    work="log-probabilities of four answers to each question, one question changed since all were measured; loads "
    "the model",
    unit="questions",
    size=1000,
    aim="0.5% of a full evaluation",
    ours=Side("llm_assets", ("torch", "transformers"), _ours),
    peer=Side("lm-eval HFLM with its cache", ("lm-eval",), _lm_eval),
    agree=_agree,
    facts=_facts,
)
