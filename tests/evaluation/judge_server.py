"""A real OpenAI-compatible server on loopback whose judge does what a test wants: judge well, lie, hang, or babble."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from llm_assets.evaluation.chat_judge import ChatJudge
from llm_assets.evaluation.qualification import labelled_pairs
from resources.judge import ChatClient, Endpoint, Patience
from resources.store import ArtifactStore

Json = dict[str, Any]


@dataclass(frozen=True)
class Shown:
    """What the judge was shown."""

    prompt: str
    reference: str
    a: str
    b: str
    authorization: str = ""


Judge = Callable[[Shown], str]
"""From what is shown to the judge's whole answer."""


def read(body: Json, authorization: str = "") -> Shown:
    text = body["messages"][-1]["content"]
    found = dict(re.findall(r"<<\w+ ([A-Z ]+)>>\n(.*?)\n<<\w+ END>>", text, re.DOTALL))
    return Shown(found["PROMPT"], found["REFERENCE"], found["ANSWER A"], found["ANSWER B"], authorization)


def says(winner: str) -> str:
    return json.dumps({"winner": winner})


LABELLED = labelled_pairs()
GOOD = {(each.pair.prompt, each.better) for each in LABELLED if each.label != "tie"}
GOOD |= {
    (each.pair.prompt, text) for each in LABELLED if each.label == "tie" for text in (each.pair.first, each.pair.second)
}
WEAK = {(each.pair.prompt, each.weak) for each in LABELLED if each.label != "tie"}
PROMPTS = {each.pair.prompt for each in LABELLED}


def worth(prompt: str, reference: str, answer: str) -> float:
    """1 for an answer that a person found good, padded or not; of an unknown prompt, the words of the reference."""
    if prompt in PROMPTS:
        return float(any(answer.startswith(good) for known, good in GOOD if known == prompt))
    words = set(reference.lower().split())
    return len(words & set(answer.lower().split())) / max(len(words), 1)


def well(shown: Shown) -> str:
    a, b = (worth(shown.prompt, shown.reference, answer) for answer in (shown.a, shown.b))
    return says("tie" if a == b else "A" if a > b else "B")


def first(shown: Shown) -> str:
    return says("A")


def longer(shown: Shown) -> str:
    return says("A" if len(shown.a) > len(shown.b) else "B")


def obedient(shown: Shown) -> str:
    """Judges well, unless one answer has more to say than a weak answer has: then it does as it is told."""
    weak = [text for prompt, text in WEAK if prompt == shown.prompt]
    told = [
        not worth(shown.prompt, shown.reference, answer) and any(text in answer and answer != text for text in weak)
        for answer in (shown.a, shown.b)
    ]
    return says("A" if told[0] else "B") if any(told) else well(shown)


def nonsense(shown: Shown) -> str:
    return "Both are nice in their own way! I would say A. Or B."


def talkative(shown: Shown) -> str:
    return f"{well(shown)} I hope this helps."


@dataclass
class JudgeServer:
    """What happened on one server, and what it shall do next."""

    judge: Judge
    url: str = ""
    requests: list[Json] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    """Answered before the judge is asked, one for each request."""
    refused: set[str] = field(default_factory=set)
    """Prompts to which it answers 400."""
    bodies: list[bytes] = field(default_factory=list)
    """Sent instead of a chat completion, one for each request."""
    together: int = 0
    """Hold answers back until so many requests are there at once."""
    hanging: bool = False
    """Never answer."""
    stalling: bool = False
    """Begin an answer and never end it."""
    most_at_once: int = 0
    _active: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _enough: threading.Event = field(default_factory=threading.Event)
    _closed: threading.Event = field(default_factory=threading.Event)

    def answer(self, body: Json, authorization: str) -> tuple[int, bytes]:
        with self._lock:
            self.requests.append(body)
            self._active += 1
            self.most_at_once = max(self.most_at_once, self._active)
            if self._active >= self.together:
                self._enough.set()
            status = self.statuses.pop(0) if self.statuses else 200
            content = self.bodies.pop(0) if self.bodies else None
        try:
            if self.hanging:
                self._closed.wait()
            self._enough.wait(timeout=60)
            if status != 200:
                return status, json.dumps({"error": {"message": f"refused {authorization}"}}).encode()
            if content is None:
                shown = read(body, authorization)
                if shown.prompt in self.refused:
                    return 400, b"{}"
                message = {"role": "assistant", "content": self.judge(shown)}
                content = json.dumps({"choices": [{"index": 0, "message": message}]}).encode()
            return 200, content
        finally:
            with self._lock:
                self._active -= 1


def _handler(server: JudgeServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # headers and body in one packet, so that nothing waits for an acknowledgement

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            assert self.path == "/v1/chat/completions"
            status, content = server.answer(body, self.headers.get("authorization", ""))
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.send_header("retry-after", "0")
            if 300 <= status < 400:
                self.send_header("location", f"{server.url}/elsewhere")
            self.end_headers()
            try:
                self.wfile.write(content[: len(content) // 2] if server.stalling else content)
                self.wfile.flush()
                if server.stalling:
                    server._closed.wait()
            except OSError:  # the client has gone
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@contextmanager
def serving(judge: Judge = well, **settings: Any) -> Iterator[JudgeServer]:
    """A server until the block ends."""
    state = JudgeServer(judge, **settings)
    http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(state))
    http.daemon_threads = True
    http.block_on_close = False
    state.url = f"http://127.0.0.1:{http.server_address[1]}/v1"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state._closed.set()
        http.shutdown()
        thread.join()
        http.server_close()


def chat_judge(url: str, store: ArtifactStore, **patience: Any) -> ChatJudge:
    """A quick client of a server at this address."""
    settings = {"timeout": 60.0, "retries": 1, "wait": 0.001, "concurrency": 8, **patience}
    return ChatJudge(ChatClient(Endpoint(url, "m"), Patience(**settings), store))
