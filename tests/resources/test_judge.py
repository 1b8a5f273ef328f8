"""A chat endpoint is asked within bounds, once per question, and its key stays with it; over real HTTP."""

import dataclasses
import logging
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from resources.errors import JudgeError
from resources.judge import GIVE_UP_AFTER, LARGEST_ANSWER, Answer, ChatClient, Endpoint, Patience
from resources.store import ArtifactStore
from tests.evaluation.judge_server import JudgeServer, serving

KEY = "sk-very-secret-0123456789"
QUICK = Patience(timeout=30, retries=2, wait=0.001, concurrency=3)


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with serving(lambda shown: f"I judge {shown.a}.") as running:
        yield running


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(str(tmp_path / "store"), tmp_path / "cache")


def client(
    server: JudgeServer, store: ArtifactStore, model: str = "m", version: str = "", **patience: Any
) -> ChatClient:
    return ChatClient(Endpoint(server.url, model, KEY), dataclasses.replace(QUICK, **patience), store, version)


def question(text: str) -> dict[str, Any]:
    names = ("PROMPT", "REFERENCE", "ANSWER A", "ANSWER B")
    content = "\n".join(f"<<n {name}>>\n{text}\n<<n END>>" for name in names)
    return {"messages": [{"role": "user", "content": content}], "temperature": 0}


def questions(count: int) -> list[dict[str, Any]]:
    return [question(f"number {number}") for number in range(count)]


def test_answers_come_in_the_order_of_the_questions(server: JudgeServer, store: ArtifactStore) -> None:
    answers = client(server, store).ask(questions(20))
    assert [answer.text for answer in answers] == [f"I judge number {number}." for number in range(20)]
    assert {request["model"] for request in server.requests} == {"m"}
    assert {request["temperature"] for request in server.requests} == {0}


def test_nothing_is_asked_a_second_time(server: JudgeServer, store: ArtifactStore) -> None:
    before = client(server, store).ask([*questions(5), question("number 0")])
    assert len(server.requests) == 5
    later = client(server, store)
    assert later.ask([*questions(5), question("number 0")]) == before
    assert later.asked == 0
    assert len(server.requests) == 5


def test_an_unreadable_answer_is_handed_back_and_asked_for_again_by_the_next_client_only(
    server: JudgeServer, store: ArtifactStore
) -> None:
    server.judge = lambda shown: "Hmm." if shown.a in ("number 1", "number 3") else "yes"
    babbled = client(server, store)
    for _ in range(2):
        answers = babbled.ask(questions(5), readable=lambda text: text == "yes")
        assert [answer.text for answer in answers] == ["yes", "Hmm.", "yes", "Hmm.", "yes"]
    assert len(server.requests) == babbled.asked == 5
    server.judge = lambda shown: "yes"
    recovered = client(server, store)
    assert recovered.ask(questions(5), readable=lambda text: text == "yes") == [Answer("yes")] * 5
    assert recovered.asked == 2


def test_a_kept_answer_that_nobody_can_read_any_more_is_asked_for_again(
    server: JudgeServer, store: ArtifactStore
) -> None:
    client(server, store).ask(questions(1))
    server.judge = lambda shown: "yes"
    assert client(server, store).ask(questions(1), readable=lambda text: text == "yes") == [Answer("yes")]
    assert client(server, store).ask(questions(1)) == [Answer("yes")]
    assert len(server.requests) == 2


def test_another_model_version_or_question_is_asked_anew(server: JudgeServer, store: ArtifactStore) -> None:
    client(server, store).ask(questions(1))
    client(server, store, model="other").ask(questions(1))
    client(server, store, version="2").ask(questions(1))
    client(server, store).ask([{**question("number 0"), "temperature": 1}])
    assert len(server.requests) == 4


def test_no_more_requests_run_at_once_than_allowed(store: ArtifactStore) -> None:
    with serving(lambda shown: "yes", together=3) as server:
        answers = client(server, store).ask(questions(12))
    assert [answer.text for answer in answers] == ["yes"] * 12
    assert server.most_at_once == 3


@pytest.mark.parametrize("status", [429, 408, 500, 502, 503])
def test_an_endpoint_that_recovers_is_asked_again(server: JudgeServer, store: ArtifactStore, status: int) -> None:
    server.statuses = [status, status]
    assert client(server, store).ask(questions(1)) == [Answer("I judge number 0.")]
    assert len(server.requests) == 3


def test_retries_end_and_a_failure_is_not_kept(server: JudgeServer, store: ArtifactStore) -> None:
    server.statuses = [500, 503, 500]
    assert client(server, store).ask(questions(1)) == [Answer(None, "HTTP status 500")]
    assert len(server.requests) == 3
    assert client(server, store).ask(questions(1)) == [Answer("I judge number 0.")]


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_refusal_is_not_repeated(server: JudgeServer, store: ArtifactStore, status: int) -> None:
    server.statuses = [status]
    assert client(server, store).ask(questions(1)) == [Answer(None, f"HTTP status {status}")]
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(server: JudgeServer, store: ArtifactStore, status: int) -> None:
    server.statuses = [status]
    assert client(server, store).ask(questions(1)) == [Answer(None, f"HTTP status {status}")]
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "body",
    [b"", b"hello", b"[]", b'{"choices": []}', b'{"choices": [{"message": {"content": null}}]}', b"[" * 100_000],
)
def test_what_is_no_chat_completion_is_no_answer(server: JudgeServer, store: ArtifactStore, body: bytes) -> None:
    server.bodies = [body]
    assert client(server, store).ask(questions(1)) == [Answer(None, "the answer is no chat completion")]


def test_an_endless_answer_is_cut_off(server: JudgeServer, store: ArtifactStore) -> None:
    server.bodies = [b'{"choices": [{"message": {"content": "' + b"a" * (3 * LARGEST_ANSWER) + b'"}}]}']
    assert client(server, store).ask(questions(1))[0].text is None


def test_an_endpoint_that_hangs_is_left_after_the_time_out(store: ArtifactStore) -> None:
    with serving(hanging=True) as server:
        answers = client(server, store, timeout=0.1, retries=1).ask(questions(2))
        assert answers == [Answer(None, "no answer within 0.1 s")] * 2
        assert len(server.requests) <= 4


def test_an_answer_that_never_ends_is_left_after_the_time_out(store: ArtifactStore) -> None:
    with serving(lambda shown: "yes", stalling=True) as server:
        assert client(server, store, timeout=0.1, retries=0).ask(questions(1))[0].problem == "no answer within 0.1 s"


def test_a_dead_endpoint_is_given_up_for_the_rest_of_the_run(store: ArtifactStore) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    dead = ChatClient(Endpoint(nobody, "m"), dataclasses.replace(QUICK, concurrency=1), store)
    answers = dead.ask(questions(30))
    assert {answer.text for answer in answers} == {None}
    assert dead.asked == GIVE_UP_AFTER
    assert "ConnectError" in answers[0].problem
    assert answers[-1].problem == f"not asked, because {GIVE_UP_AFTER} requests in a row got no answer"
    assert dead.ask(questions(31))[-1].text is None
    assert dead.asked == GIVE_UP_AFTER


def test_the_key_is_sent_and_seen_nowhere_else(
    server: JudgeServer, store: ArtifactStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.judge = lambda shown: f"Your key is {shown.authorization}."
    server.statuses = [200, 500, 500, 500]
    asking = client(server, store)
    (told,) = asking.ask(questions(1))
    (failed,) = asking.ask([question("fails")])
    assert told.text == "Your key is Bearer [key]."
    assert failed == Answer(None, "HTTP status 500")
    everything = [path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file()]
    assert everything
    everything += [caplog.text, repr(asking.endpoint), str(asking.endpoint), repr(told), repr(failed)]
    assert not [text for text in everything if KEY in text]


def test_address_key_and_model_come_from_the_environment() -> None:
    environ = {"LLM_JUDGE_URL": "http://127.0.0.1:9/v1/", "LLM_JUDGE_API_KEY": KEY}
    found = Endpoint.from_env("from-the-line", environ)
    assert (found.url, found.model, found.key) == ("http://127.0.0.1:9/v1", "from-the-line", KEY)
    assert Endpoint.from_env("from-the-line", {**environ, "LLM_JUDGE_MODEL": "another"}).model == "another"


def test_what_is_missing_is_named() -> None:
    with pytest.raises(JudgeError, match=r"LLM_JUDGE_URL is not set.*kind embedding"):
        Endpoint.from_env("m", {})
    with pytest.raises(JudgeError, match=r"evaluation\.judge\.model in the line, or LLM_JUDGE_MODEL"):
        Endpoint.from_env("", {"LLM_JUDGE_URL": "http://127.0.0.1:9/v1"})


@pytest.mark.parametrize(
    "url",
    [
        f"http://user:{KEY}@127.0.0.1/v1",
        f"https://{KEY}@host/v1",
        f"http://127.0.0.1/v1?key={KEY}",
        f"http://127.0.0.1/v1#{KEY}",
        f"file:///etc/{KEY}",
        f"ftp://host/{KEY}",
        f"//host/{KEY}",
        f"http:///{KEY}",
        f"http://host:port/{KEY}",
        f"http://ho st/{KEY}",
        f"http://host/v1\n{KEY}",
        f"http://a..b/{KEY}",
        KEY,
    ],
)
def test_an_address_that_is_none_or_holds_a_secret_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(JudgeError, match="LLM_JUDGE_URL must look like") as raised:
        Endpoint.from_env("m", {"LLM_JUDGE_URL": url})
    assert KEY not in str(raised.value)
    assert raised.value.__cause__ is None


@pytest.mark.parametrize("key", [f"{KEY}\nx", f"{KEY} x", f"{KEY}é", f"{KEY}\x00"])
def test_a_key_that_no_header_carries_is_refused_without_being_repeated(key: str) -> None:
    with pytest.raises(JudgeError, match="LLM_JUDGE_API_KEY holds") as raised:
        Endpoint.from_env("m", {"LLM_JUDGE_URL": "http://127.0.0.1:9/v1", "LLM_JUDGE_API_KEY": key})
    assert KEY not in str(raised.value)
