"""The gateway as a real process, in front of a stub or of nothing."""

import json
import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from llm_assets.serving import gateway as gateway_module
from llm_assets.serving.gateway import RouteFile
from llm_assets.serving.request_records import RecordWriter
from resources.errors import ServingError
from resources.route import Route, write_route
from resources.serving import LocalServing
from tests.serving.conftest import HELLO, StubBackend, http, point, route_to


def chat(url: str, **body: Any) -> httpx.Response:
    return http.post(f"{url}/v1/chat/completions", json={"messages": HELLO, **body}, timeout=30)


def records(serving: LocalServing, count: int) -> list[dict[str, Any]]:
    """The request records, once there are that many."""
    deadline = time.monotonic() + 10
    while True:
        lines = [
            line
            for path in sorted(serving.records_dir("assistant").glob("*.jsonl"))
            for line in path.read_text().splitlines()
        ]
        if len(lines) >= count:
            return [json.loads(line) for line in lines]
        assert time.monotonic() < deadline, f"{len(lines)} records instead of {count}"
        time.sleep(0.02)


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_without_a_route_it_says_so(gateway: str, serving: LocalServing) -> None:
    response = chat(gateway)
    assert response.status_code == 503
    assert "no release serves yet" in response.json()["error"]["message"]
    assert http.get(f"{gateway}/health").status_code == 503
    assert http.get(f"{gateway}/live").status_code == 200
    assert records(serving, 1)[0]["status"] == 503


def test_every_answer_names_its_release(gateway: str, serving: LocalServing, backend: StubBackend) -> None:
    point(serving, route_to(backend.url))
    response = chat(gateway)
    assert response.json()["choices"][0]["message"]["content"] == "I am m-assistant-v1"
    assert response.headers["x-release"] == "digest-of-assistant-v1"
    assert response.headers["x-release-name"] == "assistant-v1"
    assert http.get(f"{gateway}/health").json()["release"] == "digest-of-assistant-v1"
    assert 'release="digest-of-assistant-v1"' in http.get(f"{gateway}/metrics").text


def test_requests_may_name_the_line_or_the_release_that_serves(
    gateway: str, serving: LocalServing, backend: StubBackend
) -> None:
    point(serving, route_to(backend.url))
    for model in (None, "", "assistant", "assistant-v1"):
        assert chat(gateway, model=model).status_code == 200
    assert chat(gateway, model="assistant-v0").status_code == 404
    names = [entry["id"] for entry in http.get(f"{gateway}/v1/models").json()["data"]]
    assert names == ["assistant", "assistant-v1"]


def test_the_release_brings_its_system_prompt(gateway: str, serving: LocalServing, backend: StubBackend) -> None:
    point(serving, route_to(backend.url, system="Be kind."))
    own = [{"role": "system", "content": "Be terse."}, *HELLO]
    chat(gateway)
    chat(gateway, messages=own)
    assert [body["messages"][0]["content"] for body in backend.seen] == ["Be kind.", "Be terse."]
    assert backend.seen[0]["messages"][1:] == HELLO
    assert records(serving, 2)[0]["messages"] == HELLO


def test_a_stream_passes_through_and_is_recorded_whole(
    gateway: str, serving: LocalServing, backend: StubBackend
) -> None:
    point(serving, route_to(backend.url))
    with http.stream("POST", f"{gateway}/v1/chat/completions", json={"messages": HELLO, "stream": True}) as response:
        lines = [line for line in response.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    assert response.headers["x-release"] == "digest-of-assistant-v1"
    record = records(serving, 1)[0]
    assert (record["answer"], record["status"], record["stream"]) == ("Iamm-assistant-v1", 200, True)


def test_a_stream_that_breaks_off_is_recorded_as_failed(
    gateway: str, serving: LocalServing, backend: StubBackend
) -> None:
    point(serving, route_to(backend.url))
    backend.broken = True
    with http.stream("POST", f"{gateway}/v1/chat/completions", json={"messages": HELLO, "stream": True}) as response:
        response.read()
    assert records(serving, 1)[0]["status"] == 502


def test_a_dead_backend_is_a_clear_recorded_error(gateway: str, serving: LocalServing) -> None:
    point(serving, route_to("http://127.0.0.1:9"))
    response = chat(gateway)
    assert response.status_code == 502
    assert "assistant-v1 can't be reached" in response.json()["error"]["message"]
    assert response.headers["x-release"] == "digest-of-assistant-v1"
    record = records(serving, 1)[0]
    assert record["status"] == 502
    assert "can't be reached" in record["error"]
    assert http.get(f"{gateway}/health").status_code == 503


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"x" * 300_000, 413),
        (b"nonsense", 400),
        (b'{"messages": 3}', 400),
        (b'{"messages": [1]}', 400),
        (b'{"messages": [{"role": "user", "content": "a"}], "temperature": NaN}', 400),
        (b'{"messages": [{"role": "user", "content": "a"}], "temperature": 1e999}', 400),
        (b'{"messages": [{"role": "user", "content": "a"}], "user": "\\ud800"}', 400),
    ],
)
def test_a_hostile_body_never_reaches_the_backend(
    gateway: str, serving: LocalServing, backend: StubBackend, content: bytes, status: int
) -> None:
    point(serving, route_to(backend.url))
    assert http.post(f"{gateway}/v1/chat/completions", content=content).status_code == status
    assert backend.seen == []
    record = records(serving, 1)[0]
    assert (record["status"], record["messages"]) == (status, [])


def test_text_in_parts_is_recorded_and_forwarded_as_plain_text(
    gateway: str, serving: LocalServing, backend: StubBackend
) -> None:
    point(serving, route_to(backend.url))
    parts = [{"type": "text", "text": "How are "}, {"type": "text", "text": "you doing?"}]
    assert chat(gateway, messages=[{"role": "user", "content": parts}]).status_code == 200
    assert backend.seen[0]["messages"] == records(serving, 1)[0]["messages"] == HELLO


def test_a_route_that_cannot_be_read_changes_nothing(gateway: str, serving: LocalServing, backend: StubBackend) -> None:
    point(serving, route_to(backend.url))
    assert chat(gateway).status_code == 200
    (serving.folder / "assistant" / "route.json").write_text("{half")
    assert chat(gateway).headers["x-release-name"] == "assistant-v1"


def test_a_route_that_could_not_be_read_once_is_read_by_the_next_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = route_to("http://127.0.0.1:9", "assistant-v2")
    write_route(tmp_path / "route.json", new)
    follower = RouteFile(tmp_path / "route.json")

    def too_many_open_files(path: Path) -> Route:
        raise ServingError("the route can't be read")

    with monkeypatch.context() as patch:
        patch.setattr(gateway_module, "read_route", too_many_open_files)
        assert follower.current() is None
    assert follower.current() == new


def test_a_client_that_leaves_is_recorded(gateway: str, serving: LocalServing, backend: StubBackend) -> None:
    backend.slow = threading.Event()
    point(serving, route_to(backend.url))
    with http.stream("POST", f"{gateway}/v1/chat/completions", json={"messages": HELLO, "stream": True}) as response:
        next(response.iter_raw())
    record = records(serving, 1)[0]
    backend.slow.set()
    assert (record["status"], record["error"]) == (499, "the client left")


def test_a_switch_under_load_fails_no_request(gateway: str, serving: LocalServing, backend: StubBackend) -> None:
    routes = [route_to(backend.url, "assistant-v1"), route_to(backend.url, "assistant-v2")]
    point(serving, routes[0])
    stop = threading.Event()
    seen: list[tuple[int, str, str]] = []

    def ask() -> None:
        while not stop.is_set():
            answer = http.post(f"{gateway}/v1/chat/completions", json={"messages": HELLO}, timeout=30)
            text = answer.json().get("choices", [{"message": {"content": answer.text}}])[0]["message"]["content"]
            seen.append((answer.status_code, answer.headers["x-release-name"], text))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for flip in range(60):
        point(serving, routes[flip % 2])
        before = len(seen)
        eventually(lambda before=before: len(seen) > before + 2)  # type: ignore[misc]
    stop.set()
    for thread in threads:
        thread.join()
    assert {status for status, _, _ in seen} == {200}
    assert {name for _, name, _ in seen} == {"assistant-v1", "assistant-v2"}
    assert all(text == f"I am m-{name}" for _, name, text in seen)
    kept = records(serving, len(seen))
    assert len(kept) == len(seen)
    assert len({record["id"] for record in kept}) == len(seen)


def test_records_carry_what_monitoring_needs_in_the_file_of_their_hour(
    gateway: str, serving: LocalServing, backend: StubBackend
) -> None:
    point(serving, route_to(backend.url))
    response = chat(gateway)
    http.post(f"{gateway}/v1/chat/completions", json={"messages": HELLO}, headers={"x-probe": "1"})
    record, probe = records(serving, 2)
    assert record["release"] == "digest-of-assistant-v1"
    assert record["name"] == "assistant-v1"
    assert record["messages"] == HELLO
    assert record["answer"] == "I am m-assistant-v1"
    assert record["status"] == 200
    assert record["seconds"] > 0
    assert record["id"] == response.headers["x-request-id"]
    assert (record["probe"], probe["probe"]) == (False, True)
    moment = datetime.fromisoformat(record["time"])
    assert moment.utcoffset() == timedelta(0)
    assert (serving.records_dir("assistant") / f"{moment:%Y-%m-%dT%H}.jsonl").exists()


def test_a_full_disk_costs_records_but_no_answers(gateway: str, serving: LocalServing, backend: StubBackend) -> None:
    point(serving, route_to(backend.url))
    folder = serving.records_dir("assistant")
    folder.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC)
    for hours in (0, 1):
        (folder / f"{now + timedelta(hours=hours):%Y-%m-%dT%H}.jsonl").symlink_to("/dev/full")
    assert [chat(gateway).status_code for _ in range(3)] == [200] * 3
    eventually(lambda: "llm_gateway_records_lost_total 3" in http.get(f"{gateway}/metrics").text)
    log = (serving.folder / "assistant" / "gateway.log").read_text()
    assert log.count("request records are being lost") == 1


def test_a_half_written_record_does_not_spoil_the_next(tmp_path: Path) -> None:
    path = tmp_path / f"{datetime.now(UTC):%Y-%m-%dT%H}.jsonl"
    path.write_text('{"id": "cut o')
    writer = RecordWriter(tmp_path)
    writer.put({"id": "next"})
    writer.close()
    assert json.loads(path.read_text().splitlines()[1])["id"] == "next"


def test_records_can_be_read_by_their_owner_only(tmp_path: Path) -> None:
    writer = RecordWriter(tmp_path / "records")
    writer.put({"id": "one"})
    writer.close()
    (path,) = (tmp_path / "records").glob("*.jsonl")
    assert os.stat(path).st_mode & 0o077 == 0
