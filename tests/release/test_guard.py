"""Nothing is promoted on records that do not belong together, or on a verdict that things have moved on from."""

from pathlib import Path

import pytest

from llm_assets.line import Line
from llm_assets.release.guard import guard_release, guard_verdict, verify_release
from llm_assets.release.verdict import policy_digest, sign_verdict
from llm_assets.release_log import record_event
from resources.errors import GuardError
from tests.evaluation.small_report import make_line
from tests.release.small_release import Bench, altered, changed


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench.in_folder(tmp_path)


@pytest.mark.parametrize("holder", ["report", "calibration"])
@pytest.mark.parametrize("name", ["base_model", "prompt", "evaluation_sets", "judge", "champion"])
def test_a_report_and_a_calibration_of_different_things_get_no_verdict(bench: Bench, holder: str, name: str) -> None:
    candidate = bench.candidate("one")
    assert candidate.mismatch() == ""
    other = altered(candidate, holder, **{name: "another"})
    if holder == "calibration":
        other = altered(other, "report", calibration=other.calibration.digest)
    assert name.replace("_", " ") in other.mismatch()
    with pytest.raises(GuardError, match=r"no verdict, .* run the job small_continuous_training"):
        sign_verdict(bench.line, other, bench.signer)


@pytest.mark.parametrize(
    ("holder", "name"),
    [
        ("report", "checkpoint"),
        ("report", "calibration"),
        ("report", "dataset"),
        ("checkpoint", "dataset"),
        ("checkpoint", "base_model"),
        ("checkpoint", "prompt"),
    ],
)
def test_records_of_two_candidates_do_not_belong_together(bench: Bench, holder: str, name: str) -> None:
    other = altered(bench.candidate("one"), holder, **{name: "another"})
    if holder == "checkpoint":
        other = altered(other, "report", checkpoint=other.checkpoint.digest)
    assert other.mismatch()


def test_a_mismatch_names_both_sides_and_a_missing_champion(bench: Bench) -> None:
    other = altered(bench.candidate("one"), "report", champion="release-digest")
    assert other.mismatch() == (
        "the gate calibration was made from champion (none), but the evaluation report's is release-dige"
    )


def test_a_newer_calibration_or_checkpoint_stops_what_was_judged_before(bench: Bench) -> None:
    first = bench.candidate("one")
    verdict = bench.judged(first)
    guard_verdict(bench.context, bench.store, bench.signer, bench.line, verdict)
    release = bench.released(first, 1)
    guard_release(bench.context, bench.store, bench.signer, bench.line, release)
    bench.materialize(altered(first, "calibration", judge="another"))
    with pytest.raises(GuardError, match=r"was made from gate calibration .* run small_continuous_training"):
        guard_verdict(bench.context, bench.store, bench.signer, bench.line, verdict)
    with pytest.raises(GuardError, match="was made from gate calibration"):
        guard_release(bench.context, bench.store, bench.signer, bench.line, release)


def test_a_corrected_answer_key_that_was_read_since_stops_what_was_judged_by_the_old_one(bench: Bench) -> None:
    first = bench.candidate("one")
    verdict, release = bench.judged(first), bench.released(first, 1)
    guard_verdict(bench.context, bench.store, bench.signer, bench.line, verdict)
    corrected = altered(first, "sets", objects={"evaluation/facts.jsonl": "another"})
    bench.materialize(corrected)
    sentence = r"evaluation report was made from evaluation sets .* but the newest is .* run small_continuous_training"
    with pytest.raises(GuardError, match=sentence):
        guard_verdict(bench.context, bench.store, bench.signer, bench.line, verdict)
    with pytest.raises(GuardError, match=sentence):
        guard_release(bench.context, bench.store, bench.signer, bench.line, release)
    with pytest.raises(GuardError, match=r"no verdict, .* evaluation sets"):
        sign_verdict(bench.line, corrected, bench.signer)


def test_what_was_compared_with_a_champion_that_serves_no_more_is_compared_again(bench: Bench) -> None:
    first = bench.released(bench.candidate("one"), 1)
    record_event(bench.store, "small", "promoted", first)
    late = bench.candidate("two", first.digest)
    verdict, release = bench.judged(late), bench.released(late, 2)
    guard_verdict(bench.context, bench.store, bench.signer, bench.line, verdict)
    guard_release(bench.context, bench.store, bench.signer, bench.line, release)
    rival = bench.released(bench.candidate("three", first.digest), 3)
    record_event(bench.store, "small", "promoted", rival)
    bench.materialize(late)
    sentence = r"compared with small-v1, but what it must compete with now is small-v3: .*run small_continuous_training"
    with pytest.raises(GuardError, match=sentence):
        guard_verdict(bench.context, bench.store, bench.signer, bench.line, verdict)
    with pytest.raises(GuardError, match=sentence):
        guard_release(bench.context, bench.store, bench.signer, bench.line, release)
    record_event(bench.store, "small", "rolled_back", first)
    guard_release(bench.context, bench.store, bench.signer, bench.line, release)


def test_a_candidate_of_before_the_first_release_does_not_replace_it(bench: Bench) -> None:
    unopposed = bench.released(bench.candidate("two"), 2)
    record_event(bench.store, "small", "promoted", bench.released(bench.candidate("one"), 1))
    bench.materialize(bench.candidate("two"))
    with pytest.raises(GuardError, match="compared with no champion, but what it must compete with now is small-v1"):
        guard_release(bench.context, bench.store, bench.signer, bench.line, unopposed)


def test_the_release_that_serves_may_be_deployed_again_whatever_was_computed_since(bench: Bench) -> None:
    candidate = bench.candidate("one")
    release = bench.released(candidate, 1)
    record_event(bench.store, "small", "promoted", release)
    guard_release(bench.context, bench.store, bench.signer, bench.line, release)
    bench.materialize(altered(candidate, "dataset", commit="a newer one, still in training"))
    guard_release(bench.context, bench.store, bench.signer, bench.line, release)


@pytest.mark.parametrize(
    ("section", "keys"),
    [
        ("data", {"maximum_rejected": 0.04}),
        ("gates", {"clean": {**make_line().gates["clean"].model_dump(mode="json"), "false_fail": 0.3}}),
        ("evaluation", {"judge": {"minimum_agreement": 0.6}}),
        (
            "evaluation",
            {
                "sets": {
                    **make_line().evaluation.model_dump()["sets"],
                    "toxic": {"kind": "toxicity", "path": "t", "limit": 20},
                }
            },
        ),
    ],
    ids=["data", "gates", "judge", "limit"],
)
def test_a_line_that_changed_since_its_verdict_is_judged_again_first(
    bench: Bench, section: str, keys: dict[str, object]
) -> None:
    release = bench.released(bench.candidate("one"), 1)
    guard_release(bench.context, bench.store, bench.signer, bench.line, release)
    bench.line = changed(bench.line, section, **keys)
    again = bench.candidate("one", line=bench.line)
    bench.materialize(again)
    sentence = r"by other gates, sets or data rules than the line has; run small_continuous_training"
    with pytest.raises(GuardError, match=sentence):
        guard_release(bench.context, bench.store, bench.signer, bench.line, release)
    guard_release(bench.context, bench.store, bench.signer, bench.line, bench.released(again, 2))


def test_a_verdict_by_other_rules_for_the_data_registers_nothing(bench: Bench) -> None:
    verdict = bench.judged(bench.candidate("one"))
    guard_verdict(bench.context, bench.store, bench.signer, bench.line, verdict)
    line = changed(bench.line, "data", minimum_rows=30)
    with pytest.raises(GuardError, match="by other gates, sets or data rules than the line has"):
        guard_verdict(bench.context, bench.store, bench.signer, line, verdict)


def test_how_patient_the_judge_is_and_where_the_data_lie_decide_nothing(bench: Bench) -> None:
    patient: Line = changed(
        bench.line, "evaluation", judge={"retries": 5, "timeout_seconds": 1.0}, rev="v2", batch_size=4
    )
    moved = changed(patient, "data", repo="elsewhere", rev="v2")
    assert policy_digest(moved) == policy_digest(bench.line)


def test_a_release_is_verified_for_a_rollback_without_asking_what_serves_or_what_the_line_says_now(
    bench: Bench,
) -> None:
    first = bench.released(bench.candidate("one"), 1)
    second = bench.released(bench.candidate("two", first.digest), 2)
    for release in (first, second):
        record_event(bench.store, "small", "promoted", release)
    bench.line = changed(bench.line, "data", maximum_rejected=0.01)
    verify_release(bench.store, bench.signer, first)
