"""The application: what is asked by which path, and how it is answered."""

from __future__ import annotations

import asyncio
import json
import time
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from importlib import resources

from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from kerascli import files, predictions
from kerascli.errors import Failure, Problem
from kerascli.serving.bodies import CSV, FORM, JSON, Body, File, samples
from kerascli.serving.description import description
from kerascli.serving.guard import Guard, own_names, refused
from kerascli.serving.openapi import document
from kerascli.serving.predictor import GoOn, Predictor
from kerascli.serving.refusal import REQUEST, Limits, Refusal
from kerascli.serving.worker import Worker, busy

AT_ONCE = 32
"""Requests whose bodies are held in memory, read or in line."""
SWALLOWED = 8
"""A body this many times too large is still read to its end, and forgotten, so that the sender hears why."""
PAGE = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}


class Application:
    """Answers requests about one model."""

    def __init__(self, predictor: Predictor, limits: Limits) -> None:
        self.predictor, self.limits = predictor, predictor.within(limits)
        self.worker = Worker(self.limits)
        self.requests = 0
        model = description(predictor, self.limits)
        health = {"status": "ok", "model": model["name"], "run": model["run"]}
        self.facts = {
            "/healthz": _written(health),
            "/model.json": _written(model),
            "/openapi.json": _written(document(model)),
        }

    def guarded(self, host: str, names: Iterable[str] = (), say: Callable[[str], None] = lambda line: None) -> ASGIApp:
        """The whole of it, for a server that is known by these names."""
        page = resources.files("kerascli.serving")
        fixed = {path: (data, JSON) for path, data in self.facts.items()}
        fixed |= {path: ((page / name).read_bytes(), media) for path, (name, media) in PAGE.items()}
        routes = [Route(path, _always(*answer)) for path, answer in fixed.items()]
        routes.append(Route("/predict", self.predict, methods=["POST"]))
        handlers = {Failure: _refuse, HTTPException: _http, Exception: _fault}
        return Guard(Starlette(routes=routes, exception_handlers=handlers), own_names(host, names), say)  # type: ignore[arg-type]

    async def predict(self, request: Request) -> Response:
        """The model's outputs for the rows of the body."""
        if self.requests >= AT_ONCE:
            raise busy(f"{AT_ONCE} requests are being answered already")
        self.requests += 1
        try:
            deadline = time.monotonic() + self.limits.seconds
            top_k, form = _asked(request), _wanted(request.headers.get("accept", ""))
            try:
                async with asyncio.timeout_at(asyncio.get_running_loop().time() + self.limits.seconds):
                    body = await self._body(request)
            except TimeoutError:
                message = f"the body did not come within {self.limits.seconds:g} seconds"
                raise Refusal(408, Problem("E704", message, REQUEST)) from None
            data = await self.worker.run(lambda go_on: self._answer(body, form, top_k, go_on), deadline)
            return Response(data, media_type=form)
        except ClientDisconnect:
            return Response(status_code=400)
        finally:
            self.requests -= 1

    def _answer(self, body: Body, form: str, top_k: int | None, go_on: GoOn) -> bytes:
        """In the engine's thread: read, predict, write."""
        try:
            read = samples(body, self.predictor, self.limits, go_on)
            outputs = self.predictor.outputs(read.blocks, go_on)
            top = read.top_k or top_k
            if form == CSV:
                return predictions.as_text(self.predictor.model, outputs, "csv", top, read.places).encode()
            rows = list(predictions.rows(self.predictor.model, outputs, top, read.places))
            return _written({"predictions": rows} | ({"notes": read.notes} if read.notes else {}))
        except MemoryError:
            message = "the request needs more memory than there is"
            raise Refusal(413, Problem("E703", message, REQUEST, help="send fewer rows at a time")) from None

    async def _body(self, request: Request) -> Body:
        content = request.headers.get("content-type", "")
        media, *parameters = (part.strip() for part in content.split(";"))
        charset = next((p[8:].strip('"') for p in parameters if p.lower().startswith("charset=")), None)
        packed = request.headers.get("content-encoding", "identity")
        if packed.lower() != "identity":
            message = f"bodies packed by `{packed[:40]}` are not read"
            raise Refusal(415, Problem("E702", message, REQUEST, help="send it unpacked"))
        data = await self._bytes(request)
        if media.lower() == FORM:
            return Body(FORM, charset, await self._files(request, data))
        return Body(media.lower(), charset, (File(data),))

    async def _bytes(self, request: Request) -> bytes:
        """The body; 413 as soon as it is known to be too large."""
        most, said = self.limits.bytes, request.headers.get("content-length", "")
        if said.isdecimal() and int(said) > SWALLOWED * most:
            raise self._too_large()
        data, size = bytearray(), 0
        async for chunk in request.stream():
            size += len(chunk)
            if size <= most:
                data += chunk
            elif size > SWALLOWED * most:
                break
        if size > most:
            raise self._too_large()
        return bytes(data)

    def _too_large(self) -> Refusal:
        message = f"the body has more than {self.limits.bytes:,} bytes"
        help = "send several requests, or serve with a larger --max-bytes"
        return Refusal(413, Problem("E703", message, REQUEST, help=help), {"Connection": "close"})

    async def _files(self, request: Request, data: bytes) -> tuple[File, ...]:
        async def stream() -> AsyncGenerator[bytes, None]:
            yield data

        try:
            parser = MultiPartParser(request.headers, stream(), max_files=self.limits.rows, max_fields=1)
            form = await parser.parse()
        except (MultiPartException, ValueError) as error:  # python-multipart's own are ValueErrors
            message = f"the form cannot be read: {str(error)[:200]}"
            help = "`curl -F image=@picture.png …` makes a proper one"
            raise Refusal(400, Problem("E701", message, REQUEST, help=help)) from None
        try:
            found = []
            for name, part in form.multi_items():
                if not isinstance(part, UploadFile):
                    message = f"the field `{name[:40]}` of the form is no file"
                    raise Failure(Problem("E706", message, REQUEST, help="`curl -F image=@picture.png …`"))
                found.append(File(await part.read(), part.filename or ""))
            return tuple(found)
        finally:
            await form.close()


def _always(data: bytes, media: str) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        return Response(data, media_type=media)

    return answer


def _written(value: object) -> bytes:
    return json.dumps(files.finite(value), ensure_ascii=False, allow_nan=False).encode()


def _asked(request: Request) -> int | None:
    """`?top_k=3`; no other parameter is known."""
    for name in request.query_params:
        if name != "top_k":
            message = f"there is no parameter `{name[:40]}`"
            raise Refusal(422, Problem("E706", message, REQUEST, help="`/predict?top_k=3` is all that is known"))
    text = request.query_params.get("top_k")
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and 0 < len(text) < 10 and int(text)):
        message = f"`top_k` is `{text[:40]}`, and a whole number from 1 is expected"
        raise Refusal(422, Problem("E706", message, REQUEST))
    return int(text)


def _wanted(accept: str) -> str:
    """JSON or CSV, as the header `Accept` prefers."""
    best, form = 0.0, ""
    for part in accept.split(",") if accept.strip() else ["*/*"]:
        media, *parameters = (word.strip().lower() for word in part.split(";"))
        found = {"*/*": JSON, "application/*": JSON, JSON: JSON, "text/*": CSV, CSV: CSV}.get(media)
        share = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        weight = float(share) if share.replace(".", "", 1).isdecimal() and share.isascii() else 0.0
        if found and weight > best:
            best, form = weight, found
    if not form:
        message = f"answers are {JSON} or {CSV}, and `{accept[:60]}` is wanted"
        raise Refusal(406, Problem("E702", message, help="change the header `Accept`"))
    return form


async def _refuse(request: Request, error: Failure) -> Response:
    return refused(error)


async def _http(request: Request, error: HTTPException) -> Response:
    """Paths and methods that there are not."""
    what = {404: "there is no such path", 405: f"the path takes no {request.method[:10]}"}
    help = "`POST /predict`, `GET /`, `/healthz`, `/model.json` and `/openapi.json` are all"
    problem = Problem("E705", what.get(error.status_code, "the request is not understood"), help=help)
    return refused(Refusal(error.status_code, problem, error.headers or {}))


async def _fault(request: Request, error: Exception) -> Response:
    """The traceback is for the one who serves, not for the one who asks."""
    traceback.print_exception(error)
    message = "the server met a fault of its own, and wrote it down where it runs"
    return refused(Refusal(500, Problem("E707", message)))
