"""A child's answer arrives whole, however long, or its end is one clear error."""

import sys
import textwrap
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from resources.compute import Compute
from resources.errors import ModelError, PlatformError

CHILD = """
    import os, signal
    from llm_assets.child import serve
    from resources.errors import ModelError

    def work(request, pipes):
        pipes.log.info("working")
        if request["how"] == "refuse":
            raise ModelError("this model is refused.")
        if request["how"] == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        return {"said": request["how"] * request["times"]}

    serve(work)
"""


@pytest.fixture
def compute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Compute:
    (tmp_path / "small_child.py").write_text(textwrap.dedent(CHILD))
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="$PYTHONPATH:{tmp_path}" exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    return Compute()


def ask(compute: Compute, how: str, times: int = 1) -> dict[str, Any]:
    outcome: list[Any] = []

    @dg.asset
    def asked(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        try:
            outcome.append(compute.run(context, "small_child", {"how": how, "times": times}, "the child"))
        except PlatformError as error:
            outcome.append(error)
        return dg.MaterializeResult()

    assert dg.materialize([asked]).success
    if isinstance(outcome[0], PlatformError):
        raise outcome[0]
    found: dict[str, Any] = outcome[0]
    return found


def test_an_answer_of_megabytes_arrives_whole(compute: Compute) -> None:
    assert ask(compute, "ab\n", 1_000_000)["said"] == "ab\n" * 1_000_000


def test_an_error_keeps_its_type_and_words(compute: Compute) -> None:
    with pytest.raises(ModelError, match=r"^this model is refused\.$"):
        ask(compute, "refuse")


def test_a_child_that_is_killed_published_nothing(compute: Compute) -> None:
    with pytest.raises(PlatformError, match=r"the child was killed by SIGKILL .* nothing was published"):
        ask(compute, "die")
