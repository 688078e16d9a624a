"""The server: a port that is known to be free before the model is loaded, and a clean end. The only door to uvicorn."""

from __future__ import annotations

import errno
import importlib.util
import socket
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from kerascli.errors import Failure, Problem
from kerascli.serving.refusal import Limits
from kerascli.stored import Stored

if TYPE_CHECKING:
    import uvicorn
    from starlette.types import ASGIApp

PACKAGES = {"starlette": "starlette", "uvicorn": "uvicorn", "python_multipart": "python-multipart"}
"""What is imported, and what it is called where it is installed from."""


def require_packages() -> None:
    """Raise E516 where a package is absent, before anything else is done."""
    absent = [f"`{name}`" for module, name in PACKAGES.items() if importlib.util.find_spec(module) is None]
    if absent:
        several = len(absent) > 1
        message = f"a server needs the package{'s' * several} {', '.join(absent)}"
        message += f", which {'are' if several else 'is'} not installed"
        raise Failure(Problem("E516", message, help='`pip install "kerascli[serve]"`'))


def serve(
    stored: Stored,
    host: str,
    port: int,
    limits: Limits,
    which: str,
    threads: int,
    names: Iterable[str],
    ready: Callable[[str, int], None],
    say: Callable[[str], None],
) -> None:
    """Answer requests until the process is told to end. `ready` gets the URL and the port, `say` a line a request."""
    require_packages()
    from kerascli.serving.app import Application
    from kerascli.serving.predictor import Predictor

    with listening(host, port) as listener:
        found = Application(Predictor(stored, which, threads), limits)
        server = made(found.guarded(host, names, say))
        listener.listen()
        number = listener.getsockname()[1]
        ready(url(host, number), number)
        try:
            server.run([listener])
        finally:
            found.worker.close()


def made(app: ASGIApp) -> uvicorn.Server:
    """A server that says nothing itself."""
    import uvicorn

    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=3,
    )
    return uvicorn.Server(config)


def listening(host: str, port: int) -> socket.socket:
    """A socket at the address; not yet listening, so that nobody waits while the model is loaded."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)
        listener = socket.socket(family, socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        help = "`127.0.0.1` is this machine alone, `0.0.0.0` all its addresses"
        raise Failure(Problem("E708", f"there is no host `{host}`", help=help), exit_code=2) from None
    try:
        if hasattr(socket, "SO_REUSEPORT"):  # not on Windows, where it would let two servers share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise Failure(_not_bound(host, port, error)) from None
    return listener


def _not_bound(host: str, port: int, error: OSError) -> Problem:
    match error.errno:
        case errno.EADDRINUSE:
            message, help = f"port {port} of {host} is taken by another program", "`--port 0` finds a free one"
        case errno.EACCES | errno.EPERM:
            message, help = f"port {port} of {host} may not be opened by this user", "take one above 1023"
        case errno.EADDRNOTAVAIL:
            message, help = f"this machine has no address {host}", "`0.0.0.0` are all that it has"
        case _:
            message, help = f"port {port} of {host} cannot be opened: {error.strerror or error}", ""
    return Problem("E708", message, help=help)


def url(host: str, port: int) -> str:
    """Where a browser on this machine finds the server."""
    name = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{name}:{port}/"
