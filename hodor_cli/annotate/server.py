"""The local server: the page's files, frames, masks, and the WebSocket between page and session.

It never opens a path that comes from a browser: files are looked up by name among the package's files, frames by index.
"""

from __future__ import annotations

import asyncio
import errno
import mimetypes
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from importlib import resources
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from hodor_cli.annotate.export import EXPORTS, export_path
from hodor_cli.annotate.frames import FrameReader, jpeg_of, thumbnail_of
from hodor_cli.annotate.guard import Guard
from hodor_cli.annotate.messages import Hello, decode_request, pack_runs
from hodor_cli.annotate.worker import MakeSession, Page, SessionWorker
from hodor_cli.errors import HodorError, UsageError
from hodor_cli.files import harmless

#: The longest message that a page may send, in bytes.
_MOST_BYTES = 8 << 20


def serve(
    make_session: MakeSession,
    readers: tuple[FrameReader, FrameReader],
    listening: socket.socket,
    opened: Callable[[str], Any],
) -> None:
    """Serve the page on a socket from `listen` until Ctrl-C; returns after everything is saved.

    readers: one for the page, one for thumbnails. opened: called with the page's URL when the server is ready.
    """
    token = secrets.token_urlsafe(24)
    host, port = listening.getsockname()[:2]
    host = socket.gethostname() if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    server = page_server(make_session, readers, token, lambda: opened(f"http://{host}:{port}/{token}/"))
    with suppress(KeyboardInterrupt):  # the server raises it again after a clean shutdown
        server.run(sockets=[listening])


def page_server(
    make_session: MakeSession, readers: tuple[FrameReader, FrameReader], token: str, ready: Callable[[], None]
) -> uvicorn.Server:
    """The guarded server, not yet running; it does not log requests that it ends. ready: called when it is ready."""
    app = Guard(_Routes(make_session, *readers, ready).app(), token)
    return uvicorn.Server(
        uvicorn.Config(
            app, log_config=None, log_level="critical", access_log=False, ws_max_size=_MOST_BYTES,
            timeout_graceful_shutdown=1, lifespan="on", server_header=False,
        )
    )  # fmt: skip


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens at an address; port 0: a free one. Raises UsageError if that is not possible."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        # With SO_REUSEADDR, Windows would let another program listen on the same port.
        option = getattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_REUSEADDR)
        listening.setsockopt(socket.SOL_SOCKET, option, 1)
        listening.bind((host, port))
        listening.listen(128)  # before the server runs, so that an early browser waits instead of being rejected
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise UsageError(f"port {port} is in use; choose another `port`, or leave it out") from None
        if error.errno == errno.EACCES:
            raise UsageError(f"port {port} needs administrator rights; choose one above 1023") from None
        raise UsageError(f"cannot listen at {host} ({error.strerror}); choose another `host`") from None
    return listening


class _Routes:
    """The application behind the guard."""

    def __init__(
        self, make_session: MakeSession, reader: FrameReader, thumbs: FrameReader, ready: Callable[[], None]
    ) -> None:
        self._make, self._reader, self._thumbs, self._ready = make_session, reader, thumbs, ready
        self._static = _static_files()
        self._worker: SessionWorker

    def app(self) -> Starlette:
        """The application with its routes. Only requests over the WebSocket change anything."""
        return Starlette(
            routes=[
                Route("/", self._file),
                Route("/frame/{index:int}", self._frame),
                Route("/thumb/{index:int}", self._thumb),
                Route("/labels/{index:int}", self._labels),
                Route("/export/{kind:str}", self._export),
                WebSocketRoute("/socket", self._socket),
                Route("/{name:str}", self._file),
            ],
            lifespan=self._life,
        )

    @asynccontextmanager
    async def _life(self, _: Starlette) -> AsyncIterator[None]:
        self._worker = SessionWorker(self._make)
        self._ready()
        try:
            yield
        finally:
            await self._worker.close()

    async def _file(self, request: Request) -> Response:
        return _answer(*self._static.get(request.path_params.get("name", "index.html"), (None, "")))

    async def _frame(self, request: Request) -> Response:
        index = request.path_params["index"]
        in_memory = self._worker.session.reader.peek(index)

        def picture() -> bytes:
            return jpeg_of(self._reader.read(index) if in_memory is None else in_memory)

        return await _read(picture, "image/jpeg")

    async def _thumb(self, request: Request) -> Response:
        index = request.path_params["index"]
        return await _read(lambda: thumbnail_of(self._thumbs.read(index)), "image/jpeg")

    async def _labels(self, request: Request) -> Response:
        project, index = self._worker.session.project, request.path_params["index"]
        return await _read(lambda: pack_runs(project.labels(index)), "application/octet-stream")

    async def _export(self, request: Request) -> Response:
        session, kind = self._worker.session, request.path_params["kind"]
        path = export_path(session.project.folder, kind) if kind in EXPORTS else None
        if path is None or not path.is_file():
            return _answer(None, "")
        return FileResponse(path, filename=harmless(f"{session.reader.source.name}-{path.name}"))

    async def _socket(self, socket: WebSocket) -> None:
        await socket.accept()
        page = Page()
        sending = asyncio.create_task(_send(socket, page))
        try:
            while True:
                received = await socket.receive()
                if received["type"] == "websocket.disconnect":
                    return
                try:
                    message, payload = decode_request(received.get("bytes") or received.get("text") or "")
                except HodorError as error:
                    page.push({"event": "answered"})
                    page.push({"event": "error", "text": str(error)})
                    continue
                if isinstance(message, Hello):
                    self._worker.claim(page)
                elif self._worker.page is page:
                    self._worker.handle(message, payload)
        except (WebSocketDisconnect, RuntimeError):  # the page was closed while sending
            return
        finally:
            self._worker.leave(page)
            sending.cancel()


async def _send(socket: WebSocket, page: Page) -> None:
    while True:
        message = await page.outgoing.get()
        if isinstance(message, bytes):
            await socket.send_bytes(message)
        else:
            await socket.send_text(message)


async def _read(make: Callable[[], bytes], kind: str) -> Response:
    """A response whose data is read in a thread; if that fails, one sentence with status 404."""
    try:
        return Response(await asyncio.to_thread(make), media_type=kind)
    except HodorError as error:
        return PlainTextResponse(str(error), status_code=404)


def _answer(data: bytes | None, kind: str) -> Response:
    return PlainTextResponse("not found", status_code=404) if data is None else Response(data, media_type=kind)


def _static_files() -> dict[str, tuple[bytes, str]]:
    found = {}
    for file in resources.files("hodor_cli.annotate").joinpath("static").iterdir():
        # The registry of Windows may have another type for scripts.
        kind = "text/javascript" if file.name.endswith(".js") else mimetypes.guess_type(file.name)[0]
        found[file.name] = (file.read_bytes(), kind or "application/octet-stream")
    return found
