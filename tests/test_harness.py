"""Tasks of lm-evaluation-harness: read from a registry's files, run on a model that is loaded already, offline."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from llm_assets.data.harness_sets import read_harness_set
from llm_assets.evaluation_spec import EvaluationSetSpec
from resources.errors import DataError

pytest.importorskip("lm_eval")

YAML = """
task: capitals
dataset_path: json
dataset_kwargs:
  data_files: {test: capitals.jsonl}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
doc_to_choice: "{{choices}}"
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}
"""
ROWS = [
    {"question": f"What is the capital of country {n}?", "choices": ["Paris", "London", "Rome is it"], "answer": n % 3}
    for n in range(8)
]


def write_task(folder: Path, yaml: str = YAML, rows: list[dict[str, Any]] = ROWS) -> None:
    (folder / "evaluation/capitals").mkdir(parents=True)
    (folder / "evaluation/capitals/capitals.yaml").write_text(yaml)
    (folder / "evaluation/capitals/capitals.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def spec(**changed: Any) -> EvaluationSetSpec:
    content = {"kind": "lm_eval", "path": "evaluation/capitals", "task": "capitals", "lm_metric": "acc_norm"}
    return EvaluationSetSpec.model_validate({**content, **changed})


@pytest.fixture(scope="module")
def capitals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of an evaluation set."""
    folder = tmp_path_factory.mktemp("capitals")
    write_task(folder / "pulled")
    read_harness_set(spec(), folder / "pulled", folder / "set")
    return folder / "set"


def test_its_documents_become_rows_before_any_model_is_asked(capitals: Path) -> None:
    rows = [json.loads(line) for line in (capitals / "set.jsonl").read_text().splitlines()]
    assert [row["document"] for row in rows] == list(range(8))
    assert len({row.pop("task") for row in rows}) == 1
    assert rows[5] == {
        "id": "capitals-000005",
        "prompt": "What is the capital of country 5?",
        "reference": "Rome is it",
        "category": "capitals",
        "document": 5,
    }


def test_a_limit_takes_the_lowest_hashes_as_for_every_set(tmp_path: Path) -> None:
    write_task(tmp_path / "pulled")
    few = read_harness_set(spec(limit=3), tmp_path / "pulled", tmp_path / "few")
    more = read_harness_set(spec(limit=5), tmp_path / "pulled", tmp_path / "more")
    assert len(few) == 3
    assert {row["id"] for row in few} < {row["id"] for row in more}


def test_it_scores_the_documents_it_is_asked_for_as_the_model_s_likelihoods_say(
    capitals: Path, tiny_model_dir: Path
) -> None:
    from llm_assets.choices import choice_losses
    from llm_assets.harness import run_task
    from llm_assets.language_model import load_model, load_tokenizer

    model, tokenizer = load_model(tiny_model_dir), load_tokenizer(tiny_model_dir)
    numbers = [6, 1, 3]
    found = run_task(capitals, numbers, model, tokenizer, "", 4)
    questions = [
        (
            tokenizer.encode(ROWS[number]["question"], add_special_tokens=False),
            [tokenizer.encode(f" {choice}", add_special_tokens=False) for choice in ROWS[number]["choices"]],
        )
        for number in numbers
    ]
    for number, (said, scores), losses in zip(
        numbers, found, choice_losses(model, tokenizer, questions, 4), strict=True
    ):
        normalised = [loss / len(choice) for loss, choice in zip(losses, ROWS[number]["choices"], strict=True)]
        right = ROWS[number]["answer"]
        assert scores["acc,none"] == float(losses.index(min(losses)) == right)
        assert scores["acc_norm,none"] == float(normalised.index(min(normalised)) == right)
        measured = [-answer[0] for answer in json.loads(said)]
        assert measured == pytest.approx(losses, abs=1e-3)
    assert tokenizer.padding_side == "left"


def test_the_adapter_that_speaks_is_the_one_that_is_asked(capitals: Path, tiny_model_dir: Path) -> None:
    import peft
    import torch

    from llm_assets.harness import run_task
    from llm_assets.language_model import load_model, load_tokenizer

    tokenizer = load_tokenizer(tiny_model_dir)
    plain = run_task(capitals, [0, 1], load_model(tiny_model_dir), tokenizer, "", 4)
    model = peft.get_peft_model(load_model(tiny_model_dir), peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"]))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.constant_(weight, 0.5)
    adapted = run_task(capitals, [0, 1], model.eval(), tokenizer, "", 4)
    assert [said for said, _ in adapted] != [said for said, _ in plain]
    with model.disable_adapter():
        assert run_task(capitals, [0, 1], model, tokenizer, "", 4) == plain


def test_in_the_chat_template_the_system_prompt_is_heard(tmp_path: Path, tiny_model_dir: Path) -> None:
    from llm_assets.harness import run_task
    from llm_assets.language_model import load_model, load_tokenizer

    write_task(tmp_path / "pulled")
    model, tokenizer = load_model(tiny_model_dir), load_tokenizer(tiny_model_dir)
    said = {}
    for chat in (False, True):
        folder = tmp_path / str(chat)
        read_harness_set(spec(chat_template=chat, num_fewshot=0), tmp_path / "pulled", folder)
        for system in ("", "Be brief."):
            said[chat, system] = run_task(folder, [0], model, tokenizer, system, 4)[0][0]
    assert said[False, ""] == said[False, "Be brief."]
    assert len({said[False, ""], said[True, ""], said[True, "Be brief."]}) == 3


def test_changed_data_under_the_same_names_are_other_documents(tmp_path: Path) -> None:
    write_task(tmp_path / "pulled")
    before = read_harness_set(spec(), tmp_path / "pulled", tmp_path / "before")
    shutil.rmtree(tmp_path / "pulled")
    write_task(tmp_path / "pulled", rows=[{**row, "question": "Where?"} for row in ROWS])
    after = read_harness_set(spec(), tmp_path / "pulled", tmp_path / "after")
    assert {row["prompt"] for row in after} == {"Where?"}
    assert [row["id"] for row in after] == [row["id"] for row in before]
    assert {row["task"] for row in after}.isdisjoint(row["task"] for row in before)


@pytest.mark.parametrize(
    ("changed", "yaml", "message"),
    [
        ({"task": "capitols"}, YAML, "no lm_eval task 'capitols', it has capitals"),
        ({"lm_metric": "f1"}, YAML, "capitals has no metric 'f1'; set `lm_metric` to one of acc, acc_norm"),
        ({}, YAML.replace("true", "false"), "lower acc_norm is better"),
        ({}, YAML.replace("capitals.jsonl", "missing.jsonl"), "capitals: its data can't be loaded offline .*`path`"),
        ({"path": "", "task": "arc_easy"}, YAML, "lm_eval task arc_easy: its data can't be loaded offline .*`path`"),
        ({"path": "", "task": "arc_hard"}, YAML, "lm_eval has no task 'arc_hard'; give the folder"),
    ],
)
def test_a_task_that_can_t_be_run_here_is_one_clear_error(
    changed: dict[str, Any], yaml: str, message: str, tmp_path: Path
) -> None:
    write_task(tmp_path / "pulled", yaml)
    changed_spec = spec(**changed)
    with pytest.raises(DataError, match=message) as caught:
        read_harness_set(changed_spec, tmp_path / "pulled" if changed_spec.path else None, tmp_path / "set")
    assert "\n" not in str(caught.value)
