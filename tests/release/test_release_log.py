"""The release log says what serves, what it is compared with, and where a rollback leads."""

from pathlib import Path

import pytest

from llm_assets.records.release import Release
from llm_assets.release_log import champion, history, opponent, previous, record_event
from resources.store import ArtifactStore


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(str(tmp_path / "store"), tmp_path / "cache")


def release(store: ArtifactStore, version: int, checkpoint: str) -> Release:
    files = store.put_files({"a": b"1"})
    made = Release(
        line="l",
        name=f"l-v{version}",
        version=version,
        adapter=files,
        checkpoint=checkpoint,
        base_model="b",
        base_files=files,
        prompt="p",
        dataset="d",
        verdict="v",
        card=files,
    )
    made.save(store)
    return made


def test_nothing_serves_before_the_first_promotion(store: ArtifactStore) -> None:
    record_event(store, "l", "released", release(store, 1, "c1"))
    assert champion(store, "l") is None
    assert previous(store, "l") is None
    assert opponent(store, "l", "c1") is None


def test_the_last_promotion_serves_and_saying_it_twice_is_one_entry(store: ArtifactStore) -> None:
    one, two = release(store, 1, "c1"), release(store, 2, "c2")
    for made in (one, two, two):
        record_event(store, "l", "promoted", made)
    assert champion(store, "l") == two
    assert len(history(store, "l")) == 2


def test_rollbacks_walk_back_one_release_at_a_time(store: ArtifactStore) -> None:
    made = [release(store, number, f"c{number}") for number in (1, 2, 3)]
    for one in made:
        record_event(store, "l", "promoted", one)
    assert previous(store, "l") == made[1]
    record_event(store, "l", "rolled_back", made[1])
    assert champion(store, "l") == made[1]
    assert previous(store, "l") == made[0]
    record_event(store, "l", "rolled_back", made[0])
    assert previous(store, "l") is None
    record_event(store, "l", "promoted", made[2])
    assert (champion(store, "l"), previous(store, "l")) == (made[2], made[0])


def test_a_candidate_that_serves_keeps_the_opponent_it_had(store: ArtifactStore) -> None:
    first, again, second = release(store, 1, "c1"), release(store, 2, "c1"), release(store, 3, "c2")
    record_event(store, "l", "promoted", first)
    assert opponent(store, "l", "c2") == first
    record_event(store, "l", "promoted", again)
    assert opponent(store, "l", "c1") is None
    record_event(store, "l", "promoted", second)
    assert opponent(store, "l", "c2") == again
    assert opponent(store, "l", "c3") == second
