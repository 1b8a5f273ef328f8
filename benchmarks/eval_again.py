"""eval-again: one of 1,000 prompts changes after all were answered; against lm-eval with its cache.

Both sides answer all prompts once, into a cache of their own. A round then changes one more prompt and answers all
again: it loads the model, finds what it knows, generates the one answer and gives all of them back.
"""

import json
import time
from typing import Any

from benchmarks.benchmark import Benchmark, Setting, Side, Work
from benchmarks.quiz import quiz
from llm_assets.evaluation.answers import AnswerCache, prompt_keys
from llm_assets.evaluation.examples import Example
from llm_assets.evaluation.outputs import FILE, Output, Solver, Subject, write_outputs
from resources.store import Artifact, ArtifactStore

BATCH = 16
SEED = 11
NEW_TOKENS = 32


def _prompts(size: int, changed: int) -> list[str]:
    """The prompts of a round: this many of the first ones are other questions than in round 0."""
    first, others = quiz(size, SEED), quiz(changed, SEED + 1)
    return [item.question for item in [*others, *first[changed:]]]


def _messages(prompt: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}]


def _ours(setting: Setting) -> Work:
    from llm_assets.language_model import load_model, load_tokenizer

    def evaluate(prompts: list[str]) -> list[str]:
        store = ArtifactStore(str(setting.folder / "store"), setting.folder / "cache")
        subject = Subject(base=Artifact(digest=setting.model.name, files=1, size=1), adapter=None, system="")
        examples = [Example(f"p{n}", _messages(prompt)) for n, prompt in enumerate(prompts)]
        keys = prompt_keys("toxicity", examples, NEW_TOKENS)
        answers = AnswerCache(store, subject, "benchmark")
        missing = answers.missing(keys, examples)
        solver = Solver(load_model(setting.model), load_tokenizer(setting.model), "", BATCH, lambda _: None)
        found: list[Output] = solver.solve("toxicity", list(missing.values()), NEW_TOKENS)
        answers.add(dict(zip(missing, found, strict=True)))
        outputs = answers.outputs(keys, examples)
        store.put_files({FILE: write_outputs(outputs)})
        return [output.text for output in outputs]

    return _ready(setting, "llm_assets", evaluate)


def _lm_eval(setting: Setting) -> Work:
    from lm_eval.api.instance import Instance
    from lm_eval.api.model import CachingLM
    from lm_eval.models.huggingface import HFLM

    from llm_assets.language_model import load_model, load_tokenizer, turn_end

    def evaluate(prompts: list[str]) -> list[str]:
        tokenizer = load_tokenizer(setting.model)
        lm = HFLM(pretrained=load_model(setting.model), tokenizer=tokenizer, backend="causal", batch_size=BATCH)
        cached = CachingLM(lm, str(setting.folder / "lm_eval.db"))
        settings = {"until": [tokenizer.decode([turn_end(tokenizer)])], "max_gen_toks": NEW_TOKENS, "do_sample": False}
        requests = []
        for number, prompt in enumerate(prompts):
            text = tokenizer.apply_chat_template(_messages(prompt), tokenize=False, add_generation_prompt=True)
            requests.append(Instance("generate_until", {}, (text, settings), number))
        texts = [str(text).strip() for text in cached.generate_until(requests)]
        cached.dbdict.close()
        return texts

    return _ready(setting, "lm-eval", evaluate)


def _ready(setting: Setting, side: str, evaluate: Any) -> Work:
    """Before the first round: everything once, which is the full evaluation that a round is compared with."""
    from llm_assets.generation import generate
    from llm_assets.language_model import load_model, load_tokenizer

    # transformers imports most of itself when it first loads and generates; imports are on neither side's account.
    generate(load_model(setting.model), load_tokenizer(setting.model), [[1]], 1, 1)
    full = setting.folder / f"{side} full.json"
    if not full.exists():
        start = time.process_time()
        evaluate(_prompts(setting.size, 0))
        full.write_text(json.dumps(time.process_time() - start))
    changed = _prompts(setting.size, setting.round + 1)
    return lambda: evaluate(changed)


def _agree(ours: Any, theirs: Any) -> str:
    different = sum(a != b for a, b in zip(ours, theirs, strict=True))
    assert not different, f"{different} of {len(ours)} answers differ"
    return f"{len(ours)} answers, {len(set(ours))} different ones, all the same on both sides"


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
    work=f"one prompt changed since all were answered, up to {NEW_TOKENS} new tokens each; with loading the model",
    unit="prompts",
    size=1000,
    aim="0.5% of a full evaluation",
    ours=Side("llm_assets", ("torch", "transformers"), _ours),
    peer=Side("lm-eval HFLM with its cache", ("lm-eval",), _lm_eval),
    agree=_agree,
    facts=_facts,
)
