"""Servers and adapters for the serving tests."""

import contextlib
import json
import pickle
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from resources.route import Route, write_route
from resources.serving import LocalServing

http = httpx.Client(verify=False, trust_env=False, timeout=60, limits=httpx.Limits(max_keepalive_connections=0))
"""Shared, since a new client spends far longer on TLS settings than a tiny model on an answer."""

HELLO = [{"role": "user", "content": "How are you doing?"}]


def make_adapter(base: Path, folder: Path, seed: int) -> Path:
    """An adapter with random weights that change the answers a lot."""
    import peft
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(base)
    config = peft.LoraConfig(
        r=4,
        lora_alpha=64,
        target_modules=["q_proj", "v_proj", "o_proj"],
        init_lora_weights=False,
        task_type="CAUSAL_LM",
    )
    peft.get_peft_model(model, config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session", autouse=True)
def _one_thread_is_enough() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="session")
def adapters_root(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """one, two, three: good adapters; the others are hostile or do not fit."""
    root = tmp_path_factory.mktemp("adapters") / "root"
    for seed, name in enumerate(("one", "two", "three"), start=1):
        make_adapter(tiny_model_dir, root / name, seed)
    _other_base(root)
    for name in ("pickle", "renamed", "truncated", "fewer"):
        shutil.copytree(root / "one", root / name)
    weights = "adapter_model.safetensors"
    (root / "pickle" / weights).unlink()
    (root / "pickle" / "adapter_model.bin").write_bytes(pickle.dumps({"a": 1}))
    (root / "renamed" / weights).write_bytes(pickle.dumps({"a": 1}))
    (root / "truncated" / weights).write_bytes((root / "one" / weights).read_bytes()[:-100])
    config = json.loads((root / "fewer" / "adapter_config.json").read_text())
    config["target_modules"] = ["q_proj"]
    (root / "fewer" / "adapter_config.json").write_text(json.dumps(config))
    outside = root.parent / "outside"
    shutil.copytree(root / "one", outside)
    (root / "link").symlink_to(outside)
    shutil.copytree(root / "one", root / "linked_file")
    (root / "linked_file" / weights).unlink()
    (root / "linked_file" / weights).symlink_to(outside / weights)
    return root


def _other_base(root: Path) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(
        "llama", hidden_size=32, intermediate_size=32, num_hidden_layers=3, num_attention_heads=2, vocab_size=64
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(root.parent / "other_base")
    make_adapter(root.parent / "other_base", root / "other_base", 1)


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[LocalServing]:
    """Local serving in a folder of its own; whatever it started is ended."""
    local = LocalServing(tmp_path / "serving")
    yield local
    local.stop_all()


class StubBackend(ThreadingHTTPServer):
    """Speaks the chat API at once: the answer names the model, `seen` keeps the requests."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _StubHandler)
        self.seen: list[dict[str, Any]] = []
        self.broken = False
        self.slow: threading.Event | None = None
        """If given, a stream begins at once and ends when it is set."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _StubHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: StubBackend

    def do_GET(self) -> None:
        self._send(b'{"status": "ok"}', "application/json")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.seen.append(body)
        text = f"I am {body['model']}"
        if body.get("stream"):
            chunks = [{"choices": [{"index": 0, "delta": {"content": piece}}]} for piece in text.split(" ")]
            events = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks)
            self._send(events + (b"" if self.server.broken else b"data: [DONE]\n\n"), "text/event-stream", len(events))
            return
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        self._send(json.dumps({"choices": [choice], "usage": {"total_tokens": 3}}).encode(), "application/json")

    def _send(self, content: bytes, kind: str, pause_at: int = 0) -> None:
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[:pause_at])
        if self.server.slow is not None:
            self.server.slow.wait(20)
        with contextlib.suppress(OSError):  # the other side left
            self.wfile.write(content[pause_at:])

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def backend() -> Iterator[StubBackend]:
    server = StubBackend()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def route_to(url: str, name: str = "assistant-v1", system: str = "") -> Route:
    return Route(
        line="assistant", release=f"digest-of-{name}", name=name, model=f"m-{name}", backend=url, system=system
    )


@pytest.fixture
def gateway(serving: LocalServing, tmp_path: Path) -> str:
    """A gateway of line `assistant` without a route; its address."""
    return serving.ensure_gateway("assistant", None)


def point(serving: LocalServing, route: Route | None) -> None:
    write_route(serving.folder / "assistant" / "route.json", route)
