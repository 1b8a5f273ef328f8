"""How both servers are started: one ASGI app on one loopback socket, until it is told to end."""

import socket
from argparse import ArgumentParser, Namespace
from typing import Any

import uvicorn

KEEP_ALIVE_SECONDS = 75
"""Longer than the gateway keeps an idle connection, so that it never writes to one that is being closed."""


def add_address(parser: ArgumentParser) -> None:
    """The two ways to name the socket, and the process."""
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--port", type=int, help="TCP port on 127.0.0.1")
    where.add_argument("--fd", type=int, help="a listening socket that the parent opened: no race for the port")
    parser.add_argument("--instance", help="tells who started this process from others; not used otherwise")


def run(app: Any, arguments: Namespace) -> None:
    """Serve until SIGTERM; answers that are under way get ten seconds to finish."""
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=arguments.port or 0,
        log_level="warning",
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=10,
        server_header=False,
    )
    sockets = None if arguments.fd is None else [socket.socket(fileno=arguments.fd)]
    uvicorn.Server(config).run(sockets=sockets)
