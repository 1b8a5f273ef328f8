"""Supervision of real server processes."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from resources import processes
from resources.errors import ServingError
from resources.processes import Server
from resources.serving import LocalServing
from resources.serving_state import GatewayState, RuntimeState, read_state, write_state
from resources.settings import ROOT
from tests.serving.conftest import HELLO, StubBackend, http, point, route_to

BASE = "b" * 64


def pid_of(url: str, path: str = "/live") -> int:
    return int(http.get(url + path).json()["pid"])


def test_a_healthy_gateway_is_reused_and_a_killed_one_comes_back_on_its_port(serving: LocalServing) -> None:
    url = serving.ensure_gateway("assistant")
    pid = pid_of(url)
    assert serving.ensure_gateway("assistant") == url
    assert pid_of(url) == pid
    os.kill(pid, signal.SIGKILL)
    assert LocalServing(serving.folder).ensure_gateway("assistant") == url
    assert pid_of(url) != pid


def test_two_lines_run_side_by_side_and_stop_all_ends_both(serving: LocalServing) -> None:
    urls = [serving.ensure_gateway(line) for line in ("assistant", "other")]
    assert urls[0] != urls[1]
    assert len(LocalServing(serving.folder).stop_all()) == 2
    assert all("does not run" in row for row in serving.status() if row.startswith("  "))
    with pytest.raises(ServingError, match="no gateway of assistant runs"):
        serving.gateway_url("assistant")
    assert serving.ensure_gateway("assistant") == urls[0]


def test_a_port_that_is_in_use_is_named_with_who_uses_it_and_the_way_out(serving: LocalServing) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServingError, match=rf"port {port} is in use by .*{os.getpid()}.*gateway_port"):
            serving.ensure_gateway("assistant", port)
    assert not [child for child in psutil.Process().children() if "gateway" in " ".join(child.cmdline())]


def test_a_gateway_moves_to_another_port_when_the_line_asks_for_it(serving: LocalServing) -> None:
    old = serving.ensure_gateway("assistant")
    with processes.listen(0) as free:
        port = free.getsockname()[1]
    new = serving.ensure_gateway("assistant", port)
    assert new == f"http://127.0.0.1:{port}"
    with pytest.raises(httpx.ConnectError):
        http.get(f"{old}/live")


def test_a_process_that_got_the_pid_of_a_dead_server_is_never_touched(serving: LocalServing) -> None:
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        path = serving.folder / "assistant" / "gateway.json"
        impostor = Server(pid=bystander.pid, instance="not-its-token", port=1, log=path)
        write_state(path, GatewayState(server=impostor))
        with serving.locked("assistant"):
            assert serving.stop_all() == []
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_server_that_does_not_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    server = processes.start("llm_assets.serving.gateway", [], processes.listen(0), tmp_path / "gateway.log")
    with pytest.raises(ServingError, match=r"(?s)the gateway ended while it started.*arguments are required: --state"):
        processes.wait_until(server, lambda: False, 60, "the gateway")


def test_calls_at_the_same_time_start_one_server(serving: LocalServing) -> None:
    with ThreadPoolExecutor(4) as pool:
        urls = set(pool.map(lambda _: LocalServing(serving.folder).ensure_gateway("assistant"), range(4)))
    assert len(urls) == 1
    ours = [process for process in psutil.process_iter(["cmdline"]) if str(serving.folder) in _command(process)]
    assert len(ours) == 1


def _command(process: psutil.Process) -> str:
    return " ".join(process.info["cmdline"] or [])


def test_servers_outlive_the_process_that_started_them(serving: LocalServing) -> None:
    url = f"LocalServing(Path({str(serving.folder)!r})).ensure_gateway('assistant')"
    code = f"from pathlib import Path; from resources.serving import LocalServing; print({url})"
    started = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert http.get(started.stdout.strip() + "/live").status_code == 200


def test_a_switch_that_does_not_answer_leaves_the_earlier_release_serving(
    serving: LocalServing, gateway: str, backend: StubBackend
) -> None:
    serving.switch(route_to(backend.url, "assistant-v1"), HELLO, 5)
    with pytest.raises(ServingError, match="can't be reached"):
        serving.switch(route_to("http://127.0.0.1:9", "assistant-v2"), HELLO, 5)
    assert serving.ask(gateway, HELLO, 5)[0] == "I am m-assistant-v1"
    point(serving, None)
    with pytest.raises(ServingError):
        serving.switch(route_to("http://127.0.0.1:9", "assistant-v2"), HELLO, 5)
    assert serving.route("assistant") is None


def test_a_killed_runtime_comes_back_with_its_adapters_behind_the_same_route(
    serving: LocalServing, gateway: str, tiny_model_dir: Path, adapters_root: Path
) -> None:
    url = serving.ensure_runtime("assistant", BASE, tiny_model_dir, adapters_root)
    for name in ("one", "two"):
        serving.load_adapter("assistant", BASE, name, adapters_root / name)
    with pytest.raises(ServingError, match="only safetensors"):
        serving.load_adapter("assistant", BASE, "evil", adapters_root / "pickle")
    serving.switch(route_to(url).model_copy(update={"model": "one"}), HELLO, 8)
    before = serving.ask(gateway, HELLO, 8)[0]
    pid = pid_of(url, "/health")
    assert serving.ensure_runtime("assistant", BASE, tiny_model_dir, adapters_root) == url
    os.kill(pid, signal.SIGKILL)
    again = LocalServing(serving.folder)
    assert again.ensure_runtime("assistant", BASE, tiny_model_dir, adapters_root) == url
    assert pid_of(url, "/health") != pid
    assert again.ask(gateway, HELLO, 8)[0] == before
    _flip_real_adapters_under_load(again, gateway, url)
    _other_base_runs_beside(again, url, tiny_model_dir, adapters_root)


def _flip_real_adapters_under_load(serving: LocalServing, gateway: str, url: str) -> None:
    routes = [route_to(url, f"assistant-{name}").model_copy(update={"model": name}) for name in ("one", "two")]
    expected = {f"digest-of-assistant-{name}": serving.ask(url, HELLO, 8, name)[0] for name in ("one", "two")}
    serving.switch(routes[0], HELLO, 8)
    stop = threading.Event()
    seen: list[tuple[int, str, str]] = []

    def ask() -> None:
        while not stop.is_set():
            body = {"messages": HELLO, "max_tokens": 8}
            answer = http.post(f"{gateway}/v1/chat/completions", json=body, timeout=60)
            text = answer.json().get("choices", [{"message": {"content": answer.text}}])[0]["message"]["content"]
            seen.append((answer.status_code, answer.headers["x-release"], text))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 60
    for flip in range(1, 9):
        serving.switch(routes[flip % 2], HELLO, 8)
        while len(seen) < 4 * flip and time.monotonic() < deadline:
            time.sleep(0.01)
    stop.set()
    for thread in threads:
        thread.join()
    assert {status for status, _, _ in seen} == {200}
    assert {release for _, release, _ in seen} == set(expected)
    assert all(text == expected[release] for _, release, text in seen)


def _other_base_runs_beside(serving: LocalServing, url: str, base: Path, adapters_root: Path) -> None:
    """Staging on a new base model must not take production's server away; tidying does, when told so."""
    other = serving.ensure_runtime("assistant", "c" * 64, base, adapters_root)
    assert other != url
    assert http.get(f"{url}/health").status_code == 200
    serving.tidy("assistant", {(BASE, "one")})
    with pytest.raises(httpx.ConnectError):
        http.get(f"{other}/health")
    models = [entry["id"] for entry in http.get(f"{url}/v1/models").json()["data"]]
    assert models == ["base", "one"]
    state = read_state(serving.folder / "assistant" / "runtimes" / BASE[:12] / "runtime.json", RuntimeState)
    assert state is not None
    assert list(state.adapters) == ["one"]
