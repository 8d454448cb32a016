"""A stand-in for a hub and for a server of files, on the loopback address."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "c" * 40
_RESOLVE = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)")
_INFO = re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+?)(/(revision|tree)/(?P<revision>[^/?]+))?(\?.*)?")


class FakeServer(ThreadingHTTPServer):
    """Holds files by repository, revision and name, and plain files by their path; notes every request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, dict[str, dict[str, bytes]]] = {}
        self.files: dict[str, bytes] = {}
        self.requests: list[tuple[str, str, str]] = []
        #: Plain files break off after so many bytes, once.
        self.break_after: int | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: FakeServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        self.server.requests.append((self.command, self.path, self.headers.get("Range", "")))
        if self.path in self.server.files:
            self._plain_file(self.server.files[self.path])
        elif found := _RESOLVE.fullmatch(self.path):
            self._hub_file(found["repo"], found["revision"], found["file"], body)
        elif found := _INFO.fullmatch(self.path):
            self._hub_info(found["repo"], found["revision"] or "main")
        else:
            self._send(404, b"")

    def _plain_file(self, data: bytes) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        sent, self.server.break_after = data[start:][: self.server.break_after], None
        self._send(206 if asked else 200, sent, {"Content-Length": str(len(data) - start)})

    def _hub_file(self, repo: str, revision: str, file: str, body: bool) -> None:
        revisions = self.server.repositories.get(repo)
        files = None if revisions is None else revisions.get("main" if revision == COMMIT else revision)
        if files is None or file not in files:
            code = "RepoNotFound" if revisions is None else "RevisionNotFound" if files is None else "EntryNotFound"
            self._send(404, b"", {"X-Error-Code": code})
            return
        headers = {"ETag": f'"{hashlib.sha256(files[file]).hexdigest()}"', "X-Repo-Commit": COMMIT}
        self._send(200, files[file] if body else b"", headers | {"Content-Length": str(len(files[file]))})

    def _hub_info(self, repo: str, revision: str) -> None:
        files = self.server.repositories.get(repo, {}).get(revision)
        if files is None:
            self._send(404, b"", {"X-Error-Code": "RepoNotFound"})
            return
        facts = {"id": repo, "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]}
        tree = [{"type": "file", "path": name, "size": 1, "oid": "0"} for name in files]
        self._send(200, json.dumps(tree if "/tree/" in self.path else facts).encode())

    def _send(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(data))} | (headers or {})).items():
            self.send_header(name, value)
        self.send_header("Connection", "close")  # so that nobody is answered after the server ended
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def fake_server() -> Iterator[FakeServer]:
    """A server that runs while the block does."""
    server = FakeServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
