"""Connects the server's event loop to the thread that runs a session, and to the one page that the session serves."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec

from hodor_cli.annotate import messages
from hodor_cli.annotate.events import Emit
from hodor_cli.annotate.messages import Request
from hodor_cli.annotate.session import Session
from hodor_cli.errors import HodorError
from hodor_cli.files import harmless

#: Creates the session from the function that sends its events.
MakeSession = Callable[[Emit], Session]

#: A page with more unsent messages than this is no longer sent masks while tracking; it fetches the ones it shows.
_BEHIND = 32
#: The report is written after this long without a request.
_QUIET_SECONDS = 1.0


class Page:
    """A connected page and its queue of outgoing messages."""

    def __init__(self) -> None:
        self.outgoing: asyncio.Queue[str | bytes] = asyncio.Queue()

    def push(self, event: Mapping[str, Any], payload: bytes = b"") -> None:
        """Queue an event as JSON text; with a payload, as bytes: a line of JSON, then the payload."""
        if event.get("streamed") and self.outgoing.qsize() > _BEHIND:
            payload = b""
        line = msgspec.json.encode(event)
        self.outgoing.put_nowait(line + b"\n" + payload if payload else line.decode())


@dataclass(frozen=True, eq=False)
class _Work:
    """A request in progress, the page that sent it, and how to stop it. Both are None for the worker's own tasks."""

    request: Request | None = None
    page: Page | None = None
    stop: threading.Event = field(default_factory=threading.Event)


class SessionWorker:
    """Runs a session in its own thread and passes its events to the page. Call all methods from the event loop."""

    def __init__(self, make_session: MakeSession) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="hodor-annotate")
        #: The page being served.
        self.page: Page | None = None
        self._pending: list[_Work] = []
        self._last = time.monotonic()
        self.session = make_session(self._emit)
        self._submit(_Work(), self.session.warm)
        #: The number of warnings already sent to the page.
        self._warned = 0
        self._watcher = asyncio.create_task(self._watch())

    def claim(self, page: Page) -> None:
        """Make `page` the current page, and notify it and the previous one."""
        before, self.page = self.page, page
        jobs = (work.request for work in self._pending if isinstance(work.request, messages.Job))
        job = next((type(request).__name__.lower() for request in jobs), None)
        page.push({**self.session.snapshot(), "job": job})
        if before is not None and before is not page:
            before.push({"event": "taken"})
            text = "This project was open in another tab; that tab is paused and can take it back."
            page.push({"event": "notice", "text": text, "first": None, "last": None})
        self._warned = 0

    def leave(self, page: Page) -> None:
        """Forget a page that was closed. Its jobs continue."""
        if self.page is page:
            self.page = None

    def handle(self, request: Request, payload: bytes) -> None:
        """Queue a page's request; any request except `Hide` first stops a running job."""
        if not isinstance(request, messages.Hide):
            self._stop_all()
        if not isinstance(request, messages.Stop):
            work = _Work(request, self.page)
            self._submit(work, lambda: self.session.do(request, payload, work.stop))

    async def close(self) -> None:
        """Stop running jobs and save everything; if that fails, the session stays `dirty`."""
        self._watcher.cancel()
        self._stop_all()
        with suppress(HodorError):
            await self._loop.run_in_executor(self._thread, self.session.save)
        self._thread.shutdown()
        self.session.project.close()

    def _stop_all(self) -> None:
        for work in self._pending:
            work.stop.set()

    def _submit(self, work: _Work, carry_out: Callable[[], None]) -> None:
        self._pending.append(work)

        def run() -> None:
            text = ""
            try:
                carry_out()
            except HodorError as error:
                text = harmless(str(error)).replace("`", "")
            except Exception as error:
                what = f"{type(error).__name__}: {error}"[:300]
                text = f"unexpected {harmless(what)}; nothing saved was lost"
            self._loop.call_soon_threadsafe(self._finished, work, text)

        self._thread.submit(run)

    def _finished(self, work: _Work, error: str) -> None:
        self._pending.remove(work)
        if self.page is not None and work.page is self.page:
            self.page.push({"event": "answered"})
        if self.page is not None and error:
            self.page.push({"event": "error", "text": error})
        self._last = time.monotonic()

    def _emit(self, event: Mapping[str, Any], payload: bytes = b"") -> None:
        """Send an event from the session's thread to the page, if there is one."""
        with suppress(RuntimeError):  # the loop is closed because the server is shutting down
            self._loop.call_soon_threadsafe(self._push, event, payload)

    def _push(self, event: Mapping[str, Any], payload: bytes) -> None:
        if self.page is not None:
            self.page.push(event, payload)

    async def _watch(self) -> None:
        """Send new warnings about the video to the page, and save once the page has been idle for a while."""
        while True:
            warnings = self.session.reader.source.warnings
            if self.page is not None and len(warnings) > self._warned:
                self.page.push({"event": "warnings", "texts": [harmless(text) for text in warnings]})
                self._warned = len(warnings)
            await asyncio.sleep(_QUIET_SECONDS / 2)
            if self.session.dirty and not self._pending and time.monotonic() - self._last > _QUIET_SECONDS:
                self._submit(_Work(), self.session.save)
