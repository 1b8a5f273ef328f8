"""A new model is released and staged by itself: once, and only if no run does it anyway."""

from collections.abc import Sequence
from typing import Any

import dagster as dg
import pytest

from llm_assets.automation import FOLLOWS_NEW_MODEL

NAMES = ("evaluation_sets", "checkpoint", "verdict", "registered_model", "release", "staging_deployment")
FOLLOWERS = {"release", "staging_deployment"}


class Loop:
    """The keys of a line from the checkpoint on, evaluated as the daemon does, tick by tick."""

    def __init__(self) -> None:
        self.instance = dg.DagsterInstance.ephemeral()
        self.cursor: Any = None
        self.verdict_holds = True

    def definitions(self) -> dg.Definitions:
        def asset(name: str, *upstream: str, **kwargs: Any) -> dg.AssetsDefinition:
            @dg.asset(key=["a", name], deps=[dg.AssetKey(["a", key]) for key in upstream], **kwargs)
            def made() -> None: ...

            return made

        @dg.asset_check(asset=dg.AssetKey(["a", "verdict"]), blocking=True)
        def verdict_holds() -> dg.AssetCheckResult:
            return dg.AssetCheckResult(passed=self.verdict_holds)

        @dg.asset_check(asset=dg.AssetKey(["a", "staging_deployment"]), blocking=True)
        def boots_and_answers() -> dg.AssetCheckResult:
            return dg.AssetCheckResult(passed=True)

        follows = {"automation_condition": FOLLOWS_NEW_MODEL}
        assets = [
            asset("evaluation_sets"),
            asset("checkpoint", "evaluation_sets"),
            asset("verdict", "checkpoint"),
            asset("registered_model", "verdict", "checkpoint"),
            asset("release", "registered_model", "verdict", "checkpoint", **follows),
            asset("staging_deployment", "release", "evaluation_sets", **follows),
        ]
        return dg.Definitions(
            assets=assets, asset_checks=[verdict_holds, boots_and_answers], executor=dg.in_process_executor
        )

    def run(self, names: Sequence[str]) -> None:
        job = self.definitions().resolve_implicit_global_asset_job_def()
        keys = [dg.AssetKey(["a", name]) for name in names]
        job.execute_in_process(instance=self.instance, asset_selection=keys, raise_on_error=False)

    def tick(self) -> set[str]:
        result = dg.evaluate_automation_conditions(self.definitions(), self.instance, cursor=self.cursor)
        self.cursor = result.cursor
        return {name for name in NAMES if result.get_num_requested(dg.AssetKey(["a", name]))}


@pytest.fixture
def loop() -> Loop:
    made = Loop()
    made.run(NAMES)
    assert made.tick() == set()  # the daemon starts, and everything is there
    return made


def test_a_registered_model_is_followed_once(loop: Loop) -> None:
    loop.run(NAMES[:4])
    assert loop.tick() == FOLLOWERS
    loop.run(sorted(FOLLOWERS))
    assert [loop.tick() for _ in range(3)] == [set()] * 3
    loop.run(NAMES[:4])
    assert loop.tick() == FOLLOWERS


def test_the_first_model_is_followed_although_nothing_was_ever_released() -> None:
    loop = Loop()
    assert loop.tick() == set()
    loop.run(NAMES[:4])
    assert loop.tick() == FOLLOWERS
    loop.run(sorted(FOLLOWERS))
    assert loop.tick() == set()


def test_a_model_that_was_registered_while_no_daemon_ran_is_followed(loop: Loop) -> None:
    for _ in range(2):
        loop.run(NAMES[:4])
    assert loop.tick() == FOLLOWERS


def test_a_run_that_releases_and_stages_itself_is_not_followed(loop: Loop) -> None:
    loop.run(NAMES)
    assert [loop.tick() for _ in range(2)] == [set()] * 2


def test_a_checkpoint_without_a_model_and_a_new_evaluation_set_are_not_followed(loop: Loop) -> None:
    loop.run(["evaluation_sets", "checkpoint"])
    assert loop.tick() == set()
    loop.verdict_holds = False
    loop.run(NAMES[:4])  # stops at the verdict
    assert loop.tick() == set()


def test_a_staging_that_fails_is_not_repeated_for_ever(loop: Loop) -> None:
    loop.run(NAMES[:4])
    assert loop.tick() == FOLLOWERS
    loop.run(["release"])
    loop.tick()
    assert loop.tick() == set()
