"""Server processes that outlive whoever started them: start, recognise, wait for, end.

A server is recognised by its pid together with a token in its command line, so that a recycled pid is never taken for
ours, let alone killed, whatever the clock does. What a server does and how it is asked is in `resources/serving.py`.
"""

import errno
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict

from resources.errors import ServingError
from resources.settings import PATIENT_THREADS, ROOT

_children: list["subprocess.Popen[bytes]"] = []  # polled, so that an ended child of this process is no zombie


class Server(BaseModel):
    """A server process of ours, as its state file names it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    pid: int
    instance: str
    """The token in its command line."""
    port: int
    log: Path

    @property
    def url(self) -> str:
        """Base URL."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def alive(self) -> bool:
        """Whether exactly this process still runs."""
        return _process(self) is not None


def start(module: str, arguments: list[str], listener: socket.socket, log: Path) -> Server:
    """Run `python -m module arguments --fd N` in a session of its own; its output goes to the end of `log`.

    The listening socket is handed over, so no other process can take the port in between.

    Raises:
        ServingError: the log can't be written or no process can be made.
    """
    instance, port, fd = uuid.uuid4().hex, listener.getsockname()[1], listener.fileno()
    command = [sys.executable, "-m", module, *arguments, "--fd", str(fd), "--instance", instance]
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output, listener:
            child = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**PATIENT_THREADS, **os.environ, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[fd],
                start_new_session=True,
            )
    except OSError as error:
        raise ServingError(f"{module} can't be started: {error}; check free space and permissions of {log}.") from error
    _children.append(child)
    while child.poll() is None and not _command(child.pid):
        time.sleep(0.001)  # exec has begun, but the kernel doesn't show the new command line yet
    return Server(pid=child.pid, instance=instance, port=port, log=log)


def wait_until(server: Server, ready: Callable[[], bool], seconds: float, title: str) -> None:
    """Poll until the server is ready.

    Raises:
        ServingError: it ended or was not ready in time, with the last lines of its log; it is ended then.
    """
    deadline = time.monotonic() + seconds
    while not ready():
        if not server.alive:
            raise ServingError(f"{title} ended while it started. Last lines of {server.log}:\n{last_lines(server.log)}")
        if time.monotonic() > deadline:
            stop(server)
            raise ServingError(
                f"{title} was not ready after {seconds:.0f} s. Last lines of {server.log}:\n{last_lines(server.log)}"
            )
        time.sleep(0.05)


def stop(server: Server, seconds: float = 15.0) -> bool:
    """End a server, gently first; returns whether it ran. A process that is not ours is never touched."""
    process = _process(server)
    if process is None:
        return False
    try:
        process.terminate()
        try:
            process.wait(seconds)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait(5)
    except psutil.NoSuchProcess:
        pass  # it ended by itself in between
    return True


def listen(port: int, patience: float = 0.0) -> socket.socket:
    """A listening socket on 127.0.0.1; port 0 means any free one.

    Args:
        patience: seconds to wait for a port whose owner has just been killed and is still being cleared away.

    Raises:
        PortTakenError: names who listens, if that can be seen.
        ServingError: the port is not allowed.
    """
    deadline = time.monotonic() + patience
    while True:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
            listener.listen(2048)
            return listener
        except OSError as error:
            listener.close()
            if error.errno != errno.EADDRINUSE:
                raise ServingError(f"port {port} can't be opened: {error.strerror}.") from error
            if time.monotonic() > deadline:
                raise PortTakenError(f"port {port} is in use by {_who_listens(port)}") from error
        time.sleep(0.05)


class PortTakenError(ServingError):
    """Another process listens on the port."""


def last_lines(log: Path, count: int = 12) -> str:
    """The end of a log."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "(no log)"
    return "\n".join(lines[-count:])


def _process(server: Server) -> psutil.Process | None:
    _children[:] = [child for child in _children if child.poll() is None]
    return psutil.Process(server.pid) if server.instance in _command(server.pid) else None


def _command(pid: int) -> list[str]:
    try:
        command: list[str] = psutil.Process(pid).cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied):  # ended, a zombie, or somebody else's
        return []
    return command


def _who_listens(port: int) -> str:
    try:
        for connection in psutil.net_connections(kind="tcp"):
            if connection.laddr and connection.laddr.port == port and connection.status == psutil.CONN_LISTEN:
                if connection.pid is None:
                    break
                process = psutil.Process(connection.pid)
                return f"process {connection.pid} ({' '.join(process.cmdline())[:120] or process.name()})"
    except psutil.Error:
        pass  # another user's process: its name can't be seen
    return "another process"
