"""What stands before every request: who may ask, what a browser may do with the answer, and a line of record."""

from __future__ import annotations

import ipaddress
import json
import socket
import time
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kerascli.errors import Failure, Problem, problem_data
from kerascli.serving.refusal import Refusal

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Nothing is loaded from elsewhere, and nobody else's page may read or frame an answer."""


def refused(failure: Failure) -> Response:
    """Problems as JSON, as `--json` prints them."""
    status = failure.status if isinstance(failure, Refusal) else 422
    if status == 422 and any(problem.code == "E516" for problem in failure.problems):
        status = 501
    data = json.dumps({"problems": [problem_data(p) for p in failure.problems]}, ensure_ascii=False)
    headers = failure.headers if isinstance(failure, Refusal) else {}
    return Response(data.encode(errors="replace"), status, headers, "application/json")


def own_names(host: str, further: Iterable[str]) -> frozenset[str]:
    """What the server may be called, besides numbers: a stranger's name that leads here is an attack on a browser."""
    machine = socket.gethostname().lower()
    return frozenset({host.lower(), "localhost", machine, f"{machine}.local", *(name.lower() for name in further)})


class Guard:
    """Refuses requests under strange names (421) or from strange pages (403); adds headers; tells what was answered."""

    def __init__(self, app: ASGIApp, names: frozenset[str], say: Callable[[str], None]) -> None:
        self.app, self.names, self.say = app, names, say

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        begun, status = time.perf_counter(), 0

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        try:
            stranger = self._stranger(scope)
            await (refused(stranger) if stranger else self.app)(scope, receive, sent)
        finally:
            path = scope["path"][:80].encode("unicode_escape").decode()
            self.say(f"{scope['method']} {path} {status} {1000 * (time.perf_counter() - begun):.0f} ms")

    def _stranger(self, scope: Scope) -> Refusal | None:
        headers = Headers(scope=scope)
        host, origin = headers.get("host"), headers.get("origin")
        if host is not None and not self._is_own(host):
            message, help = f"this server does not go by the name `{host[:80]}`", "allow it: `--allow-host NAME`"
            return Refusal(421, Problem("E705", message, help=help))
        if scope["method"] == "POST" and origin is not None and urlsplit(origin).netloc.lower() != (host or "").lower():
            help = "send requests from the server's own page, or from a program"
            return Refusal(403, Problem("E705", f"pages of `{origin[:80]}` may not ask this server", help=help))
        return None

    def _is_own(self, host: str) -> bool:
        try:
            name = (urlsplit(f"//{host}").hostname or "").removesuffix(".")
            ipaddress.ip_address(name)
        except ValueError:
            return bool(name) and (name in self.names or name.endswith(".localhost"))
        return True
