"""Connects the server's event loop to the thread in which a session works, and to the one page that it serves."""

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

from hodor_cli.annotate import messages as ask
from hodor_cli.annotate.messages import Asked
from hodor_cli.annotate.session import Session
from hodor_cli.annotate.telling import Emit
from hodor_cli.errors import HodorError
from hodor_cli.files import harmless

#: Makes the session, given the function that sends its events.
MakeSession = Callable[[Emit], Session]

#: A page with more unsent messages gets no more masks of tracking; it fetches those that it shows.
_BEHIND = 32
#: The report is written after this time without a request.
_QUIET_SECONDS = 1.0


class Page:
    """A connected page, with the queue of messages to send to it."""

    def __init__(self) -> None:
        self.outgoing: asyncio.Queue[str | bytes] = asyncio.Queue()

    def push(self, event: Mapping[str, Any], payload: bytes = b"") -> None:
        """Queue an event: as JSON text, or, with a payload, as bytes whose first line is the JSON."""
        if event.get("streamed") and self.outgoing.qsize() > _BEHIND:
            payload = b""
        line = msgspec.json.encode(event)
        self.outgoing.put_nowait(line + b"\n" + payload if payload else line.decode())


@dataclass(frozen=True, eq=False)
class _Work:
    """A request under way, the page that asked for it, and what stops it. Without both it is the desk's own work."""

    asked: Asked | None = None
    page: Page | None = None
    stop: threading.Event = field(default_factory=threading.Event)


#: What a page is told that was opened while another one had the project.
_TAKEN = "This project was open in another tab, which waits now and can take it back."


class Desk:
    """Runs a session's work in its thread and passes its events to the page. Call all methods in the event loop."""

    def __init__(self, make_session: MakeSession) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="hodor-annotate")
        #: The page that is served.
        self.page: Page | None = None
        self._pending: list[_Work] = []
        self._last = time.monotonic()
        self.session = make_session(self._emit)
        self._submit(_Work(), self.session.warm)
        #: The number of warnings that the page has got.
        self._warned = 0
        self._saver = asyncio.create_task(self._look_after())

    def claim(self, page: Page) -> None:
        """Make `page` the current one, and tell it and the one before it."""
        before, self.page = self.page, page
        jobs = (work.asked for work in self._pending if isinstance(work.asked, ask.Job))
        job = next((type(asked).__name__.lower() for asked in jobs), None)
        page.push({**self.session.snapshot(), "job": job})
        if before is not None and before is not page:
            before.push({"event": "taken"})
            page.push({"event": "notice", "text": _TAKEN, "first": None, "last": None})
        self._warned = 0

    def leave(self, page: Page) -> None:
        """Note that the page is gone. Its jobs continue."""
        if self.page is page:
            self.page = None

    def ask(self, asked: Asked, payload: bytes) -> None:
        """Carry out a page's request after its earlier ones; any but `Hide` first stops a running job."""
        if not isinstance(asked, ask.Hide):
            self._stop_all()
        if not isinstance(asked, ask.Stop):
            work = _Work(asked, self.page)
            self._submit(work, lambda: self.session.do(asked, payload, work.stop))

    async def close(self) -> None:
        """Stop running jobs and save everything."""
        self._saver.cancel()
        self._stop_all()
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
                text = f"unexpected {harmless(what)}; nothing that was saved is lost"
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
        with suppress(RuntimeError):  # the loop is closed, because the server ends
            self._loop.call_soon_threadsafe(self._push, event, payload)

    def _push(self, event: Mapping[str, Any], payload: bytes) -> None:
        if self.page is not None:
            self.page.push(event, payload)

    async def _look_after(self) -> None:
        """Pass on what is wrong with the video as soon as a reading has met it, and save when the page is quiet."""
        while True:
            warnings = self.session.reader.source.warnings
            if self.page is not None and len(warnings) > self._warned:
                self.page.push({"event": "warnings", "texts": [harmless(text) for text in warnings]})
                self._warned = len(warnings)
            await asyncio.sleep(_QUIET_SECONDS / 2)
            if self.session.dirty and not self._pending and time.monotonic() - self._last > _QUIET_SECONDS:
                self._submit(_Work(), self.session.save)
