"""The runtime as a real process over HTTP, with a tiny model."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from resources.serving import LocalServing
from tests.serving.conftest import HELLO, http


@pytest.fixture(scope="module")
def url(tiny_model_dir: Path, adapters_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    local = LocalServing(tmp_path_factory.mktemp("runtime"))
    address = local.ensure_runtime("assistant", "b" * 64, tiny_model_dir, adapters_root)
    for name in ("one", "two"):
        local.load_adapter("assistant", "b" * 64, name, adapters_root / name)
    yield address
    local.stop_all()


def chat(url: str, **body: Any) -> httpx.Response:
    return http.post(f"{url}/v1/chat/completions", json={"messages": HELLO, "max_tokens": 12, **body}, timeout=60)


def answer(url: str, **body: Any) -> str:
    return str(chat(url, **body).json()["choices"][0]["message"]["content"])


def load(url: str, name: str, path: Path | str) -> httpx.Response:
    return http.post(f"{url}/v1/load_lora_adapter", json={"lora_name": name, "lora_path": str(path)}, timeout=60)


def models(url: str) -> list[str]:
    return [entry["id"] for entry in http.get(f"{url}/v1/models").json()["data"]]


def test_base_and_adapters_answer_differently_from_one_process(url: str) -> None:
    assert len({answer(url, model=name) for name in ("base", "one", "two")}) == 3
    assert models(url)[:3] == ["base", "one", "two"]


def test_an_answer_is_the_one_that_evaluation_would_measure(
    url: str, tiny_model_dir: Path, adapters_root: Path
) -> None:
    from llm_assets import language_model
    from llm_assets.generation import generate

    tokenizer = language_model.load_tokenizer(tiny_model_dir)
    model = language_model.attach_adapter(language_model.load_model(tiny_model_dir), adapters_root / "one", "one")
    prompt = language_model.encode_chat(tokenizer, HELLO, "")
    assert answer(url, model="one") == generate(model, tokenizer, [prompt], 12, 1)[0]


def test_requests_that_go_through_together_get_the_answers_they_get_alone(url: str) -> None:
    questions = [[{"role": "user", "content": "word " * length}] for length in range(1, 9)]
    asked = [(question, name) for question in questions for name in ("one", "two", "base")]
    alone = [answer(url, messages=question, model=name) for question, name in asked]
    with ThreadPoolExecutor(24) as pool:
        together = list(pool.map(lambda pair: answer(url, messages=pair[0], model=pair[1]), asked))
    assert together == alone


def test_a_stream_carries_the_whole_answer_and_ends_properly(url: str) -> None:
    pieces, lines = [], []
    body = {
        "messages": HELLO,
        "max_tokens": 12,
        "model": "one",
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    with http.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=60) as response:
        lines = [line.removeprefix("data: ") for line in response.iter_lines() if line]
    events = [json.loads(line) for line in lines[:-1]]
    pieces = [event["choices"][0]["delta"].get("content", "") for event in events]
    assert lines[-1] == "[DONE]"
    assert "".join(pieces) == answer(url, model="one")
    assert events[-1]["choices"][0]["finish_reason"] in ("stop", "length")
    assert events[-1]["usage"]["completion_tokens"] > 0


def test_max_tokens_stop_and_sampling_do_what_they_say(url: str) -> None:
    short = chat(url, model="one", max_tokens=2).json()
    assert short["usage"]["completion_tokens"] <= 2
    whole = answer(url, model="one")
    stopped = chat(url, model="one", stop=whole[2:4]).json()["choices"][0]
    assert stopped["finish_reason"] == "stop"
    assert stopped["message"]["content"] == whole[: whole.find(whole[2:4])].strip()
    sampled = [answer(url, model="one", temperature=1.5, seed=seed) for seed in (1, 1, 2, 3)]
    assert sampled[0] == sampled[1]
    assert len(set(sampled)) > 1


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"messages": []}, 400, "messages"),
        ({"messages": "hi"}, 400, "messages"),
        ({"messages": [{"role": "pirate", "content": "x"}]}, 400, "role"),
        ({"messages": [{"role": "user", "content": 3}]}, 400, "content"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, 400, "last message"),
        ({"max_tokens": 100_000}, 400, "max_tokens"),
        ({"max_tokens": 0}, 400, "max_tokens"),
        ({"temperature": -1}, 400, "temperature"),
        ({"n": 2}, 400, "n:"),
        ({"messages": [{"role": "user", "content": "word " * 3000}]}, 400, "exceed the model's 512"),
        ({"model": "nobody"}, 404, "nobody"),
        ({"messages": [{"role": "user", "content": "x" * 300_000}]}, 413, "larger than"),
    ],
)
def test_a_wrong_request_gets_an_openai_error_that_names_it(
    url: str, body: dict[str, Any], status: int, says: str
) -> None:
    response = chat(url, **body)
    assert response.status_code == status
    assert says in response.json()["error"]["message"]


def test_bodies_that_are_not_json_objects_are_refused(url: str) -> None:
    deep = b"[" * 100_000
    for content in (b"", b"{", b"[]", b"\xff\xfe", deep, b'{"messages": NaN}'):
        response = http.post(f"{url}/v1/chat/completions", content=content)
        assert response.status_code == 400, content[:10]
        assert "error" in response.json()


def test_a_body_without_length_is_cut_off_at_the_limit(url: str) -> None:
    response = http.post(f"{url}/v1/chat/completions", content=(b"x" * 65536 for _ in range(64)))
    assert response.status_code == 413


@pytest.mark.parametrize(
    ("folder", "says"),
    [
        ("../outside", "outside the folders"),
        ("link", "outside the folders"),
        ("linked_file", "outside the folders"),
        (".", "outside the folders"),
        ("nowhere", "can't be read"),
        ("one\0", "can't be read"),
        ("pickle", "only safetensors"),
        ("renamed", "not a safetensors file"),
        ("truncated", "not a safetensors file"),
        ("other_base", "does not fit the base model"),
        ("fewer", "does not fit the base model"),
    ],
)
def test_an_adapter_that_is_hostile_or_does_not_fit_is_refused_and_changes_nothing(
    url: str, adapters_root: Path, folder: str, says: str
) -> None:
    before = (models(url), answer(url, model="base"), answer(url, model="one"))
    response = load(url, "evil", f"{adapters_root}/{folder}")
    assert response.status_code == 400
    assert says in response.json()["error"]["message"]
    assert (models(url), answer(url, model="base"), answer(url, model="one")) == before


def test_loading_again_is_fine_but_a_name_is_never_given_to_another_adapter(url: str, adapters_root: Path) -> None:
    assert load(url, "one", adapters_root / "one").status_code == 200
    assert load(url, "one", adapters_root / "two").status_code == 400
    assert load(url, "base", adapters_root / "two").status_code == 400
    assert load(url, "../x", adapters_root / "two").status_code == 400


def test_an_unloaded_adapter_is_gone_and_the_others_stay(url: str, adapters_root: Path) -> None:
    before = answer(url, model="one")
    assert load(url, "v1.three", adapters_root / "three").status_code == 200
    assert answer(url, model="v1.three") != before
    unload = http.post(f"{url}/v1/unload_lora_adapter", json={"lora_name": "v1.three"})
    assert unload.status_code == 200
    assert chat(url, model="v1.three").status_code == 404
    assert answer(url, model="one") == before
    assert http.post(f"{url}/v1/unload_lora_adapter", json={"lora_name": "v1.three"}).status_code == 404


def test_a_client_that_leaves_stops_the_work_on_its_answer(url: str) -> None:
    body = {"messages": HELLO, "max_tokens": 400, "model": "two", "stream": True, "temperature": 2.0}
    with http.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=60) as response:
        next(response.iter_lines())
    deadline = time.monotonic() + 20
    while 'model="two",code="499"' not in http.get(f"{url}/metrics").text:
        assert time.monotonic() < deadline, "the runtime never noticed"
        time.sleep(0.05)
    assert answer(url, model="two")


def test_health_and_metrics_are_there_for_probes(url: str) -> None:
    assert http.get(f"{url}/health").json()["status"] == "ok"
    page = http.get(f"{url}/metrics").text
    assert 'llm_runtime_requests_total{model="one",code="200"}' in page
    assert "llm_runtime_adapters 2" in page


def test_only_this_machine_can_reach_it(url: str) -> None:
    import psutil

    port = int(url.rpartition(":")[2])
    addresses = {c.laddr.ip for c in psutil.net_connections("tcp") if c.laddr.port == port and c.status == "LISTEN"}
    assert addresses == {"127.0.0.1"}
