"""Serving on this machine: per line one gateway, and one runtime per base model that is in use.

State lies in `FOLDER/LINE/`: `gateway.json` and `runtimes/BASE/runtime.json` (pid, port), `route.json` (what serves),
`records/` (requests), logs beside them. The servers outlive the run that started them. What may serve is decided by
the serving stage and its guard, not here.
"""

import socket
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from resources import processes
from resources.chat import Messages, answer_of, chat, problem_of
from resources.errors import ServingError
from resources.local_http import call
from resources.processes import PortTakenError, Server
from resources.route import Route, read_route, write_route
from resources.serving_state import GatewayState, RuntimeState, read_state, write_state

FIRST_PORT, LAST_PORT = 8100, 8199
PATIENCE_SECONDS = 30.0
"""For a live server that is too busy to say so."""
AFTERLIFE_SECONDS = 3.0
"""How long the port of a killed server may stay taken."""


class LocalServing:
    """Starts, finds, asks and ends the servers of all lines; safe for concurrent use through a lock per line."""

    def __init__(self, folder: Path, boot_seconds: float = 240.0) -> None:
        self.folder, self.boot_seconds = folder, boot_seconds
        self._locks: dict[str, filelock.FileLock] = {}

    @contextmanager
    def locked(self, line: str) -> Iterator[None]:
        """Nobody else changes this line's servers or route meanwhile; may be nested.

        Raises:
            ServingError: somebody else holds the lock for minutes.
        """
        folder = self.folder / line
        folder.mkdir(parents=True, exist_ok=True)
        lock = self._locks.setdefault(line, filelock.FileLock(folder / "lock"))
        try:
            lock.acquire(timeout=2 * self.boot_seconds)
        except filelock.Timeout as error:
            raise ServingError(
                f"another deployment of {line} holds {folder / 'lock'}; run this again later."
            ) from error
        try:
            yield
        finally:
            lock.release()

    def ensure_runtime(self, line: str, base: str, base_folder: Path, adapters_root: Path) -> str:
        """The URL of a healthy runtime with this base model, started if there is none.

        A runtime that died comes back on its port with the adapters it had, so a route to it holds again. Runtimes
        with other base models stay: one of them may serve production.

        Args:
            base: digest of the base model's files.

        Raises:
            ServingError: it does not start; with the last lines of its log.
        """
        with self.locked(line):
            path = self._runtime_file(line, base)
            state = read_state(path, RuntimeState)
            if state and _settles(state.server, "/health"):
                return state.server.url
            if state:
                processes.stop(state.server)
            arguments = ["--base", str(base_folder), "--adapters", str(adapters_root)]
            title = f"the runtime of {line}"
            listener = _listen_again(state.server.port if state else 0)
            server = processes.start("llm_assets.serving.runtime", arguments, listener, path.with_name("runtime.log"))
            adapters = state.adapters if state else {}
            write_state(path, RuntimeState(server=server, base=base, adapters=adapters))  # found even if we die here
            processes.wait_until(server, lambda: _answers(server, "/health"), self.boot_seconds, title)
            for name, folder in adapters.items():
                self.load_adapter(line, base, name, folder)
            return server.url

    def load_adapter(self, line: str, base: str, name: str, folder: Path) -> None:
        """Have the runtime with this base model serve an adapter under a name; once is enough.

        Raises:
            ServingError: no such runtime, or it refuses the adapter.
        """
        with self.locked(line):
            path = self._runtime_file(line, base)
            state = read_state(path, RuntimeState)
            if state is None:
                raise ServingError(f"{line} has no runtime with base model {base[:12]}; call ensure_runtime first.")
            body = {"lora_name": name, "lora_path": str(folder)}
            reply = call(f"{state.server.url}/v1/load_lora_adapter", body, timeout=self.boot_seconds)
            if reply.status != 200:
                others = {key: at for key, at in state.adapters.items() if key != name}
                write_state(path, state.model_copy(update={"adapters": others}))
                raise ServingError(f"the runtime of {line} did not load {name}: {problem_of(reply)}")
            write_state(path, state.model_copy(update={"adapters": {**state.adapters, name: folder}}))

    def tidy(self, line: str, keep: Collection[tuple[str, str]]) -> None:
        """Unload every adapter, and end every runtime, that is not among these (base digest, adapter name).

        What the route leads to stays in any case: a promotion that was killed half-way serves, yet is in no log.
        """
        with self.locked(line):
            route = self.route(line)
            for path in self._runtime_files(line):
                state = read_state(path, RuntimeState)
                if state is None:
                    continue
                names = {name for base, name in keep if base == state.base}
                if route and route.backend == state.server.url:
                    names.add(route.model)
                if not names:
                    processes.stop(state.server)
                    path.unlink()
                    continue
                kept = {name: at for name, at in state.adapters.items() if name in names}
                for name in state.adapters.keys() - kept.keys():
                    call(f"{state.server.url}/v1/unload_lora_adapter", {"lora_name": name}, timeout=self.boot_seconds)
                write_state(path, state.model_copy(update={"adapters": kept}))

    def ensure_gateway(self, line: str, port: int | None = None) -> str:
        """The URL of the line's gateway, started if it does not run, moved if another port is asked for.

        Args:
            port: None means the port it had, at first the first free one from 8100 on.

        Raises:
            ServingError: the port is in use, naming by whom; or it does not start.
        """
        with self.locked(line):
            path = self.folder / line / "gateway.json"
            state = read_state(path, GatewayState)
            if state and port in (None, state.server.port) and _settles(state.server, "/live"):
                return state.server.url
            if state and port in (None, state.server.port):
                processes.stop(state.server)
            wanted = port or (state.server.port if state else None)
            listener = self._gateway_listener(line, wanted, AFTERLIFE_SECONDS if state else 0.0)
            arguments = ["--state", str(self._route_file(line)), "--records", str(self.records_dir(line))]
            server = processes.start("llm_assets.serving.gateway", arguments, listener, path.with_name("gateway.log"))
            if not (state and state.server.alive):  # one that moves stays known until the new one is ready
                write_state(path, GatewayState(server=server))
            title = f"the gateway of {line}"
            processes.wait_until(server, lambda: _answers(server, "/live"), self.boot_seconds, title)
            write_state(path, GatewayState(server=server))
            if state:
                processes.stop(state.server)
            return server.url

    def gateway_url(self, line: str) -> str:
        """Where users reach the line.

        Raises:
            ServingError: no gateway runs.
        """
        state = read_state(self.folder / line / "gateway.json", GatewayState)
        if state is None or not state.server.alive:
            raise ServingError(f"no gateway of {line} runs; start it with the job {line}_deployment.")
        return state.server.url

    def records_dir(self, line: str) -> Path:
        """Where the gateway writes its hourly request records."""
        return self.folder / line / "records"

    def route(self, line: str) -> Route | None:
        """What serves now."""
        return read_route(self._route_file(line))

    def restore(self, line: str, route: Route | None) -> None:
        """Point the gateway back to an earlier route, unverified; None means to nothing."""
        write_route(self._route_file(line), route)

    def switch(self, route: Route, messages: Messages, max_tokens: int) -> tuple[str, float]:
        """Point the line's gateway to another release and make sure of it by asking through the gateway.

        Returns:
            The answer and its seconds.

        Raises:
            ServingError: the gateway did not answer with that release; the earlier route is back then.
        """
        with self.locked(route.line):
            url = self.gateway_url(route.line)
            earlier = self.route(route.line)
            write_route(self._route_file(route.line), route)
            try:
                reply, seconds = chat(url, {"messages": list(messages), "max_tokens": max_tokens})
                answer = answer_of(url, reply)
                if reply.headers.get("x-release") != route.release:
                    found = reply.headers.get("x-release", "none")[:12]
                    raise ServingError(f"{url} answers with release {found} instead of {route.release[:12]}.")
            except BaseException:
                self.restore(route.line, earlier)
                raise
            return answer, seconds

    def ask(
        self, url: str, messages: Messages, max_tokens: int, model: str = "", system: str = ""
    ) -> tuple[str, float]:
        """One answer from a gateway or a runtime, and its seconds.

        Args:
            model: the adapter's name at a runtime; a gateway knows by itself.
            system: the release's system prompt, at a runtime; a gateway knows it.

        Raises:
            ServingError: no answer, or an error.
        """
        if system and (not messages or messages[0]["role"] != "system"):
            messages = [{"role": "system", "content": system}, *messages]
        body = {"messages": list(messages), "max_tokens": max_tokens}
        reply, seconds = chat(url, {**body, "model": model} if model else body)
        return answer_of(url, reply), seconds

    def stop_all(self) -> list[str]:
        """End every server; returns what was ended. Ports and routes are kept for the next start."""
        ended = []
        for line in self._lines():
            with self.locked(line):
                for title, server in self._servers(line):
                    if processes.stop(server):
                        ended.append(title)
        return ended

    def status(self) -> list[str]:
        """One sentence per server."""
        rows = []
        for line in self._lines():
            route = self.route(line)
            rows.append(f"{line}: {route.name if route else 'no release'} serves")
            for title, server in self._servers(line):
                state = f"at {server.url}, pid {server.pid}" if server.alive else "does not run"
                rows.append(f"  {title}: {state}, log {server.log}")
        return rows

    def _lines(self) -> list[str]:
        return sorted(path.parent.name for path in self.folder.glob("*/lock"))

    def _servers(self, line: str) -> list[tuple[str, Server]]:
        gateway = read_state(self.folder / line / "gateway.json", GatewayState)
        found = [(f"gateway of {line}", gateway.server)] if gateway else []
        runtimes = [state for path in self._runtime_files(line) if (state := read_state(path, RuntimeState))]
        return found + [(f"runtime of {line}, base model {state.base[:12]}", state.server) for state in runtimes]

    def _route_file(self, line: str) -> Path:
        return self.folder / line / "route.json"

    def _runtime_file(self, line: str, base: str) -> Path:
        return self.folder / line / "runtimes" / base[:12] / "runtime.json"

    def _runtime_files(self, line: str) -> list[Path]:
        return sorted((self.folder / line / "runtimes").glob("*/runtime.json"))

    def _gateway_listener(self, line: str, wanted: int | None, patience: float) -> socket.socket:
        if wanted is not None:
            try:
                return processes.listen(wanted, patience)
            except PortTakenError as error:
                raise ServingError(
                    f"the gateway of {line} can't start: {error}. End that process, or set deployment.gateway_port "
                    f"in the line to a free port."
                ) from error
        kept = {
            state.server.port
            for path in self.folder.glob("*/gateway.json")
            if (state := read_state(path, GatewayState))
        }
        for port in range(FIRST_PORT, LAST_PORT + 1):
            if port not in kept:
                try:
                    return processes.listen(port)
                except PortTakenError:
                    continue
        raise ServingError(
            f"the gateway of {line} can't start: ports {FIRST_PORT} to {LAST_PORT} are all in use; set "
            f"deployment.gateway_port in the line to a free one."
        )


def _listen_again(port: int) -> socket.socket:
    """The port a runtime had, or any other if somebody took it: only our own route file names it."""
    try:
        return processes.listen(port, AFTERLIFE_SECONDS)
    except PortTakenError:
        return processes.listen(0)


def _settles(server: Server, path: str) -> bool:
    """Whether a server that runs answers; a busy or a starting one gets time, since ending it would drop requests."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while server.alive and time.monotonic() < deadline:
        if _answers(server, path):
            return True
        time.sleep(0.1)
    return False


def _answers(server: Server, path: str) -> bool:
    """Whether this very process answers: another one may have got its port."""
    if not server.alive:
        return False
    reply = call(server.url + path, timeout=5)
    return reply.status == 200 and isinstance(reply.json, dict) and reply.json.get("pid") == server.pid
