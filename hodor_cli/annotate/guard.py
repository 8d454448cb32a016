"""Restricts access to the server to pages opened with its secret address.

- The first part of every path is a random token, which other users of the machine and other sites do not know.
- `Host` must be an IP address, `localhost` or the machine's name. This rejects foreign names that resolve to this
  machine (DNS rebinding).
- `Origin`, which browsers add, must be this server. This rejects pages of other sites even if they know the token.
"""

from __future__ import annotations

import ipaddress
import secrets
import socket

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = [
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]


class Guard:
    """ASGI middleware that passes only permitted requests on to `app`, with the token removed from the path."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app, self._token = app, token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        inside = self._path(scope["path"]) if self._expected(headers, scope) else None
        if inside is None and scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *_HEADERS]
            await send(message)

        if inside is None:
            body = "This address is not known here. Open the address that hodor annotate printed."
            await PlainTextResponse(body, status_code=404)(scope, receive, guarded)
            return
        await self._app({**scope, "path": inside, "raw_path": inside.encode(), "root_path": ""}, receive, guarded)

    def _path(self, path: str) -> str | None:
        """The path after the token; None if the token is wrong."""
        token, slash, rest = path.lstrip("/").partition("/")
        known = secrets.compare_digest(token.encode(), self._token)
        return f"/{rest}" if known and slash else None

    @staticmethod
    def _expected(headers: dict[bytes, bytes], scope: Scope) -> bool:
        host, origin = headers.get(b"host", b"").decode("latin-1"), headers.get(b"origin")
        if not _own_name(host):
            return False
        if origin is None:  # the address was typed or clicked; a WebSocket always has an origin
            return scope["type"] == "http" and headers.get(b"sec-fetch-site", b"none") in (b"none", b"same-origin")
        return origin.decode("latin-1") == f"http://{host}"


def _own_name(host: str) -> bool:
    """Whether a `Host` is an IP address, localhost, or this machine's name."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() and not host.endswith("]") else host
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return name.lower() in ("localhost", socket.gethostname().lower())
    return True
