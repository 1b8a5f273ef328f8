"""Every task's known cases, computed by hand."""

import json
import math
import time
from pathlib import Path
from typing import Any, get_args

import pytest

from llm_assets.data.text import answer_form
from llm_assets.evaluation import instruction_following, reasoning
from llm_assets.evaluation.custom import Custom, load_function
from llm_assets.evaluation.estimates import Estimate
from llm_assets.evaluation.exact_match import ExactMatch
from llm_assets.evaluation.examples import Example, read_examples
from llm_assets.evaluation.instruction_following import InstructionFollowing
from llm_assets.evaluation.lm_eval_task import LmEval
from llm_assets.evaluation.multiple_choice import MultipleChoice
from llm_assets.evaluation.outputs import Output
from llm_assets.evaluation.perplexity import Perplexity
from llm_assets.evaluation.proportions import PairedProportions
from llm_assets.evaluation.reasoning import Reasoning, final_answer
from llm_assets.evaluation.refusal import Refusal, declines
from llm_assets.evaluation.task import Score, Task
from llm_assets.evaluation.toxicity import Toxicity
from llm_assets.evaluation.truthfulness import Truthfulness
from llm_assets.evaluation.win_rate import WinRate
from llm_assets.gate_spec import LOWER_IS_BETTER, METRICS_OF, Metric
from llm_assets.records.data import EvaluationKind, EvaluationSet
from resources.errors import EvaluationError
from resources.store import Artifact

TASKS: list[type[Task]] = [
    Custom,
    ExactMatch,
    InstructionFollowing,
    LmEval,
    MultipleChoice,
    Perplexity,
    Reasoning,
    Refusal,
    Toxicity,
    Truthfulness,
    WinRate,
]


def score(task: Task, output: Output, /, reference: str = "", **target: Any) -> Score:
    messages = [{"role": "user", "content": "What?"}]
    (found,) = task.score_all([Example("a", messages, reference, target=target)], [output])
    return found


def test_every_metric_has_one_task_that_agrees_with_the_line_about_kind_and_direction() -> None:
    assert {task.name for task in TASKS if task.better == "lower"} == LOWER_IS_BETTER
    assert {task.name for task in TASKS} == set(get_args(Metric))
    for task in TASKS:
        assert task.name in METRICS_OF[task.kind]


@pytest.mark.parametrize(
    ("scored", "package"),
    [
        (InstructionFollowing, "if-verifiable"),
        (InstructionFollowing, "nltk"),
        (InstructionFollowing, "langdetect"),
        (Toxicity, "alt-profanity-check"),
        (Toxicity, "scikit-learn"),
        (Reasoning, "reasoning-gym"),
    ],
)
def test_another_version_of_a_foreign_scorer_is_another_identity(
    scored: type[Task], package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def identity(version: str) -> str:
        monkeypatch.setattr("llm_assets.evaluation.task.version", lambda name: version if name == package else "1.0")
        return scored().identity

    assert identity("1.0") == identity("1.0") != identity("1.1")


def test_an_example_knows_the_document_it_comes_from_and_else_stands_for_itself(tmp_path: Path) -> None:
    row = {"id": "a", "prompt": "Where?", "answers": ["at sea", "on land"], "category": "places"}
    (tmp_path / "set.jsonl").write_text(
        json.dumps({**row, "source": "d"}) + "\n" + json.dumps({**row, "id": "b", "prompt": "Who?"}) + "\n"
    )
    rows = Artifact(digest="0", files=1, size=1)
    found = {e.id: e for e in read_examples(tmp_path, EvaluationSet(kind="questions", rows=rows, size=2))}
    assert (found["a"].source, found["b"].source) == ("d", "b")
    assert found["a"].reference == "at sea | on land"
    assert Example("c", []).source == "c"


def joined(folder: Path, *rows: dict[str, str], kind: EvaluationKind = "refusals") -> dict[str, str]:
    """Id of each row -> the ids it shares a source with, itself among them."""
    whole = [{"id": str(number), "prompt": "", "true": "t", "false": "f", **row} for number, row in enumerate(rows)]
    (folder / "set.jsonl").write_text("".join(json.dumps(row) + "\n" for row in whole))
    found = read_examples(folder, EvaluationSet(kind=kind, rows=Artifact(digest="0", files=1, size=1), size=len(rows)))
    return {e.id: "".join(sorted(other.id for other in found if other.source == e.source)) for e in found}


def test_examples_that_share_a_source_or_a_prompt_are_one_document_also_through_others(tmp_path: Path) -> None:
    chain = [{"source": "a", "prompt": "1"}, {"source": "b", "prompt": "1"}, {"source": "b", "prompt": "2"}]
    alone = [{"prompt": "3"}, {"prompt": "4"}, {"prompt": "4"}]
    found = joined(tmp_path, *chain, *alone)
    assert found == {"0": "012", "1": "012", "2": "012", "3": "3", "4": "45", "5": "45"}
    assert joined(tmp_path, *alone, *reversed(chain))["5"] == "345"


def test_statements_that_nobody_asks_about_are_not_one_document(tmp_path: Path) -> None:
    found = joined(tmp_path, {}, {"source": "a"}, {"source": "a"}, kind="truthfulness")
    assert found == {"0": "0", "1": "12", "2": "12"}


def test_one_stem_with_other_choices_is_another_question(tmp_path: Path) -> None:
    stem = {"prompt": "Which is right?", "answer": 0, "category": "x"}
    rows = [{**stem, "id": str(n), "choices": [f"{n // 2} is {n // 2}", "none"]} for n in range(40)]
    (tmp_path / "set.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    whole = EvaluationSet(kind="multiple_choice", rows=Artifact(digest="0", files=1, size=1), size=40)
    assert len({example.source for example in read_examples(tmp_path, whole)}) == 20


def test_many_sources_that_hang_together_in_a_long_chain_are_joined_in_seconds(tmp_path: Path) -> None:
    rows = [{"source": f"s{(n + 1) // 2}", "prompt": f"p{n // 2}", "id": f"e{n}"} for n in range(100_000)]
    (tmp_path / "set.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    whole = EvaluationSet(kind="refusals", rows=Artifact(digest="0", files=1, size=1), size=len(rows))
    start = time.monotonic()
    assert len({example.source for example in read_examples(tmp_path, whole)}) == 1
    assert time.monotonic() - start < 30


# --- multiple choice


def choose(answer: int, *losses: tuple[float | None, int]) -> Score:
    output = Output("a", losses={str(index): loss for index, loss in enumerate(losses)})
    return score(MultipleChoice(), output, choices=["one", "two", "three"][: len(losses)], answer=answer)


def test_the_likeliest_choice_per_token_is_chosen_not_the_shortest() -> None:
    # the sums say `one` (2 < 3), per token `two` is likelier (3 / 4 < 2 / 1)
    right = choose(1, (2.0, 1), (3.0, 4))
    assert (right.value, right.reason) == (1.0, "chose 'two' (0.75 nats per token)")
    wrong = choose(0, (2.0, 1), (3.0, 4))
    assert (wrong.value, wrong.reason) == (0.0, "chose 'two' (0.75 nats per token), right is 'one' (2.00)")


def test_a_right_choice_that_ties_with_another_was_not_told_apart() -> None:
    assert choose(0, (2.0, 1), (4.0, 2), (9.0, 1)).value == 0.0
    assert "tied" in choose(0, (2.0, 1), (4.0, 2), (9.0, 1)).reason


def test_a_choice_without_a_finite_likelihood_is_a_missing_score_not_a_wrong_one() -> None:
    assert choose(0, (2.0, 1), (None, 2)).value is None


# --- exact match


@pytest.mark.parametrize(
    ("said", "accepted", "matched"),
    [
        ("The Eiffel Tower!", "eiffel  tower", True),
        ("  an  Eiffel-Tower\nIt stands in Paris.", "EiffelTower", True),  # SQuAD drops a hyphen without a space
        ("It is the Eiffel Tower", "Eiffel Tower", False),
        ("Eiffel Tower or Big Ben", "Eiffel Tower", False),
        ("", "Eiffel Tower", False),
        ("\n\nParis\n", "Paris", True),
        ("-3", "3", False),  # other than SQuAD's script
        ("−3", "-3", True),
        ("3.5", "35", False),
        ("1,000", "1000", True),
        ("3.", "3", True),
        ("(5)-3", "53", True),
        ("《北京》。", "北京", True),
        ("U.S.A.", "usa", True),
        ("$5", "5", True),
    ],
)
def test_an_answer_matches_only_as_a_whole_line_in_normal_form(said: str, accepted: str, matched: bool) -> None:
    assert score(ExactMatch(), Output("a", said), answers=["something else", accepted]).value == float(matched)


def test_articles_are_left_out_only_as_words() -> None:
    assert answer_form("A man, the Anthem an area") == "man anthem area"


# --- reasoning


@pytest.mark.parametrize(
    ("output", "answer"),
    [
        ("43 + 14 = 57\nAnswer: 57", "57"),
        ("Answer: 5 no wait\nanswer : 57", "57"),
        ("Answer:\n\n57\nDone.", "57"),
        ("Answer: 57\nThat is it.", "57"),
        ("答案 Answer：57", "57"),
        ("First 43.\n57\n\n", "57"),
        ("The answer is: 57.", "57."),
        ("The answer is 57", "The answer is 57"),
        ("Answer:", ""),
        ("", ""),
    ],
)
def test_the_final_answer_is_what_follows_the_last_mark_or_the_last_line(output: str, answer: str) -> None:
    assert final_answer(output) == answer


def verify(output: str, task: str = "chain_sum", answer: str = "57") -> Score:
    entry = {"question": "43 + 14 =", "answer": answer, "metadata": {"source_dataset": task}}
    return score(Reasoning(), Output("a", output), task=task, entry=entry)


def test_only_a_fully_verified_answer_counts() -> None:
    pytest.importorskip("reasoning_gym")
    assert verify("Answer: 57").value == 1.0
    assert verify("The answer is: 57.").value == 1.0
    partly = verify("Answer: it is 57")  # reasoning-gym gives a share of a point for an answer wrapped in words
    assert partly.value == 0.0
    assert "'it is 57' got 0." in partly.reason
    assert verify("Answer: 58").value == 0.0
    assert verify("").value == 0.0


def test_an_answer_that_breaks_its_verifier_is_not_verified_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    class Breaks:
        def score_answer(self, answer: str, entry: dict[str, Any]) -> float:
            return 1 / (57 - int(answer))

    monkeypatch.setattr(reasoning, "_verifier", lambda task: Breaks())
    broken = verify("Answer: 57", answer="58")
    assert (broken.value, broken.reason) == (0.0, "checker broke on '57' (ZeroDivisionError)")
    with pytest.raises(EvaluationError, match=r"can't judge entry a, whatever the answer .*ZeroDivisionError"):
        verify("Answer: 57", answer="57")


def test_a_verifier_that_lacks_a_package_is_an_error_and_not_a_wrong_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lacks:
        def score_answer(self, answer: str, entry: dict[str, Any]) -> float:
            raise ModuleNotFoundError("No module named 'z3'") if answer != entry["answer"] else ValueError

    monkeypatch.setattr(reasoning, "_verifier", lambda task: Lacks())
    with pytest.raises(EvaluationError, match=r"can't judge .*No module named 'z3'.*install what is missing"):
        verify("Answer: 58")


def test_a_task_that_reasoning_gym_does_not_have_is_an_error() -> None:
    pytest.importorskip("reasoning_gym")
    with pytest.raises(EvaluationError, match="no task 'chain_summ'"):
        verify("Answer: 57", task="chain_summ")


# --- instructions


def follow(output: str, instruction: str, **arguments: Any) -> Score:
    return score(InstructionFollowing(), Output("a", output), instruction_ids=[instruction], arguments=[arguments])


def test_an_instruction_that_nothing_checks_is_an_error_and_not_a_zero_for_every_model() -> None:
    for said in ("Words.", ""):
        with pytest.raises(EvaluationError, match=r"no checker 'count:no_such'; correct the set's `instruction_ids`"):
            follow(said, "count:no_such")
    with pytest.raises(EvaluationError, match=r"checker of count:numbers can't take \{'M': 3\} .*TypeError"):
        follow("Words.", "count:numbers", M=3)


def test_a_checker_that_lacks_its_data_or_a_package_is_an_error_that_names_the_way_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("nltk.data.path", [])
    with pytest.raises(EvaluationError, match=r"format:title_case can't run.*punkt_tab.*nltk.downloader"):
        follow("Some Words", "format:title_case")
    checker = instruction_following._checkers()["count:numbers"]

    def lacks(self: Any, value: str) -> bool:
        raise ModuleNotFoundError("No module named 'emoji'")

    monkeypatch.setattr(checker, "check_following", lacks)
    with pytest.raises(EvaluationError, match=r"count:numbers can't run.*No module named 'emoji'"):
        follow("Some Words", "count:numbers", N=3)


def test_a_checker_that_breaks_on_one_answer_says_so_and_the_answer_does_not_count_as_followed() -> None:
    broken = follow("....", "format:quote_unquote")
    assert broken.value == 0.0
    assert broken.reason == "format:quote_unquote: checker broke (IndexError: string index out of range)"
    assert follow("1 and 2", "count:numbers", N=2).value == 1.0


# --- refusals


@pytest.mark.parametrize(
    "answer",
    [
        "I'm sorry, but I can't assist with that.",
        "I’m sorry, but I can’t help you with this request.",
        "Sorry! I cannot provide instructions for making weapons.",
        "I cannot and will not help. I won't give you that.",
        "I am unable to fulfill this request.",
        "I must respectfully decline.",
        "As an AI language model, I don't have personal relationships.",
        "That goes against my guidelines.",
        "It is never okay to mistreat animals.",
        "抱歉，我不能回答这个问题。",
        "对不起，我无法提供这样的信息。",
        "我不能帮助您制造武器。",
        "作为一个AI语言模型，我没有个人经历。",
        "我拒绝这样做。",
        "對不起，我無法協助您。",
    ],
)
def test_usual_refusals_are_told(answer: str) -> None:
    assert declines(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "Sure! Here is how to whittle a spoon.",
        "I can't believe how good this cake is!",
        "I'm sorry to hear that. Have you talked to a friend?",
        "You can't help falling in love.",
        "If you can not find the key, call a locksmith.",
        "It is illegal to park here, so use the garage on Main Street.",
        "As an AI, I find this interesting: the lock has five pins.",
        "First, " + "turn the screw. " * 20 + "I can't help with the rest.",  # declines late: told by its opening only
        "我不能相信这个蛋糕这么好吃！",
        "你可以先联系医生。对不起的话不用说。",
        "当然可以，步骤如下。",
    ],
)
def test_what_only_sounds_like_a_refusal_is_not_one(answer: str) -> None:
    assert not declines(answer)


@pytest.mark.parametrize(
    ("answer", "should_refuse", "right"),
    [
        ("I can't help with that.", True, 1.0),
        ("Take a hammer.", True, 0.0),
        ("I can't help with that.", False, 0.0),
        ("Take a hammer.", False, 1.0),
        (" \n", True, 0.0),
        ("", False, 0.0),
    ],
)
def test_declining_is_right_only_where_it_should_be(answer: str, should_refuse: bool, right: float) -> None:
    assert score(Refusal(), Output("a", answer), should_refuse=should_refuse).value == right


# --- a user's own


def scorer(folder: Path, body: str, returns: str = "") -> Custom:
    path = folder / "function.py"
    path.write_text(f"def grade(input, output, reference){returns}:\n    {body}\n")
    return Custom("lines/grade.py:grade", path)


def test_a_user_s_function_gets_the_three_texts_and_its_score_is_kept(tmp_path: Path) -> None:
    task = scorer(tmp_path, "return len(set(output.split()) & set(reference.split())) / len(reference.split())")
    assert score(task, Output("a", "one two"), reference="one two three four").value == 0.5
    assert score(scorer(tmp_path, "return input == 'What?'"), Output("a", "x")).value == 1.0


def test_a_function_that_is_declared_to_say_right_or_wrong_is_tested_by_that_and_held_to_it(tmp_path: Path) -> None:
    task = scorer(tmp_path, "return output == reference", " -> bool")
    assert not task.graded
    assert score(task, Output("a", "x"), reference="x").value == 1.0
    half = score(scorer(tmp_path, "return 0.5", " -> bool"), Output("a", "x"))
    assert half.value is None
    assert "returned 0.5, not True or False, as its signature says" in half.reason
    assert scorer(tmp_path, "return 1.0").graded
    assert scorer(tmp_path, "return 1.0", " -> float").graded


def test_metrics_of_lm_eval_that_may_lie_between_are_tested_as_graded() -> None:
    assert [LmEval(name).graded for name in ("acc", "exact_match,strict-match", "f1")] == [False, False, True]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("return float('nan')", "returned nan, not a number from 0 to 1"),
        ("return 1.5", "returned 1.5"),
        ("return -0.1", "returned -0.1"),
        ("return None", "returned None"),
        ("return 'good'", "returned 'good'"),
        ("return {}['a']", "raised KeyError: 'a'"),
    ],
)
def test_a_function_that_gives_no_score_leaves_a_hole_and_the_set_without_its_metric(
    body: str, reason: str, tmp_path: Path
) -> None:
    task = scorer(tmp_path, body)
    found = score(task, Output("a", "x"))
    assert found.value is None
    assert reason in found.reason
    assert task.sample([Score(1.0), found]) is None
    assert task.sample([Score(1.0), found], [Score(1.0), Score(1.0)]) is None
    assert task.sample([Score(1.0), Score(1.0)], [Score(1.0), found]) is None


def test_without_a_function_the_answer_must_match_the_reference() -> None:
    assert score(Custom(), Output("a", "The cat."), reference="cat").value == 1.0
    assert score(Custom(), Output("a", "The cat sat"), reference="cat").value == 0.0
    assert score(Custom(), Output("a", ""), reference="!").value == 0.0


def test_another_source_is_another_identity_and_equal_sources_are_one(tmp_path: Path) -> None:
    first = scorer(tmp_path, "return 1").identity
    assert scorer(tmp_path, "return 0").identity != first
    assert scorer(tmp_path, "return 1").identity == first


def test_a_function_that_can_t_be_loaded_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "function.py"
    path.write_text("import no_such_module\n\ndef grade(**_): return 1\n\nnumber = 1\n")
    with pytest.raises(EvaluationError, match=r"can't be loaded .*no_such_module"):
        load_function("a.py:grade", path)
    path.write_text("number = 1\n")
    with pytest.raises(EvaluationError, match="is int, not a function"):
        load_function("a.py:number", path)
    with pytest.raises(EvaluationError, match="has changed since"):
        load_function("llm_assets.data.text:answer_form", path)


# --- lm_eval


def test_one_metric_of_the_library_is_chosen_with_or_without_its_filter() -> None:
    given: dict[str, float | None] = {"acc,none": 0.0, "exact_match,strict": 0.25, "exact_match,loose": 1.0}
    assert score(LmEval("exact_match"), Output("a", given=given)).value == 0.25
    assert score(LmEval("exact_match,loose"), Output("a", given=given)).value == 1.0
    missing = score(LmEval("f1"), Output("a", given=given))
    assert missing.value is None
    assert "the task gives acc,none, exact_match,strict" in missing.reason
    assert score(LmEval("ppl"), Output("a", given={"ppl,none": 17.0})).value is None


# --- means


def scores(*values: float) -> list[Score]:
    return [Score(value) for value in values]


def estimate(task: Task, mine: list[Score], theirs: list[Score] | None = None) -> Estimate:
    sample = task.sample(mine, theirs)
    assert sample is not None
    return sample.estimate(0.95)


def test_graded_scores_are_a_mean_and_against_another_model_a_difference_of_means() -> None:
    task = Custom()
    mine, theirs = scores(0.5, 0.75, 1.0, 0.25), scores(0.25, 0.75, 0.5, 0.0)
    alone, versus = estimate(task, mine), estimate(task, mine, theirs)
    assert (alone.value, alone.n) == (0.625, 4)
    assert versus.value == pytest.approx(0.25, abs=1e-12)
    # four differences 0.25, 0, 0.5, 0.25: their squared distances from the mean add up to 0.125
    assert versus.standard_error == pytest.approx(math.sqrt(0.125 / 4 / 4), abs=1e-12)
    assert versus.low < 0.25 < versus.high


def test_examples_of_one_document_count_as_one_draw() -> None:
    mine, theirs = scores(0.5, 0.5, 1.0, 1.0), scores(0.25, 0.25, 0.25, 0.25)
    found = {name: Custom().sample(mine, theirs, list(name)) for name in ("abcd", "aabb", "aaaa")}
    assert {name: sample and sample.n for name, sample in found.items()} == {"abcd": 4, "aabb": 2, "aaaa": 1}
    assert {sample and sample.estimate(0.95).value for sample in found.values()} == {0.5}


def test_scores_that_are_all_0_or_1_are_compared_as_every_yes_or_no_task() -> None:
    mine, theirs = scores(1, 1, 0, 1, 0, 1), scores(0, 1, 0, 0, 1, 1)
    assert Custom().sample(mine, theirs) == MultipleChoice().sample(mine, theirs) == PairedProportions(2, 1, 6)
    assert Custom().planned(mine) == MultipleChoice().planned(mine)


def test_equal_differences_prove_nothing() -> None:
    for found in (Custom().sample(scores(*[0.5] * 10), scores(*[0.5] * 10)), Custom().planned(scores(*[0.5] * 10))):
        assert found is not None
        bounds = found.estimate(0.95)
        assert (bounds.value, bounds.n) == (0.0, 10)
        assert bounds.low == pytest.approx(-bounds.high)
        assert bounds.high > 0.5  # Clopper and Pearson: 5 of 10 lies between 0.22 and 0.78
        assert found.p_values(-0.1).above > 0.3
