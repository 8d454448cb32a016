"""A real browser for tests: Chromium, driven by its DevTools protocol."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_SECONDS = 120.0  # as long as a step can take beside other programs
#: Keys that the browser itself answers, by their number.
_CODES = {"Escape": 27, "Enter": 13, "Tab": 9}


def find_browser() -> str:
    """The browser's command; without one the test skips."""
    found = next((path for name in _NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium found; on Debian: apt-get install chromium")
    return found


class Browser:
    """A headless browser with one tab in use. `errors` holds what pages threw or complained about."""

    def __init__(self, profile: Path, width: int = 1280, height: int = 800) -> None:
        from websockets.sync.client import connect

        command = [
            find_browser(), "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--no-first-run", "--disable-extensions", "--disable-background-networking", "--mute-audio",
            "--remote-debugging-port=0", f"--user-data-dir={profile}", f"--window-size={width},{height}", "about:blank",
        ]  # fmt: skip
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        port_file = profile / "DevToolsActivePort"
        wait_for(lambda: port_file.is_file() and port_file.read_text().count("\n") >= 1, "the browser to start")
        port, path = port_file.read_text().split("\n")[:2]
        self._socket = connect(f"ws://127.0.0.1:{port}{path}", max_size=None, compression=None)
        self._number = 0
        self.errors: list[str] = []
        self._session = ""
        self._targets: dict[str, str] = {}
        self._loaded = False
        self._traced: str | None = None
        self._size = (width, height)

    def open(self, url: str) -> str:
        """Open an address in a new tab, which is used from now on; returns the tab."""
        target = self._call("Target.createTarget", {"url": "about:blank"}, tab=False)["targetId"]
        attached = self._call("Target.attachToTarget", {"targetId": target, "flatten": True}, tab=False)
        self.use(attached["sessionId"])
        self._targets[self._session] = target
        self.resize(*self._size)
        for domain in ("Page", "Runtime", "Log"):
            self._call(f"{domain}.enable")
        self._load("Page.navigate", {"url": url})
        return self._session

    def use(self, tab: str) -> None:
        """Use a tab that `open` gave."""
        self._session = tab

    def reload(self) -> None:
        """Load the page again."""
        self._load("Page.reload", {})

    def close_tab(self) -> None:
        """Close the tab in use, if there is one."""
        target = self._targets.pop(self._session, None)
        if target is not None:
            self._call("Target.closeTarget", {"targetId": target}, tab=False)
            self._session = ""

    def resize(self, width: int, height: int) -> None:
        """Give the page another size."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._call("Emulation.setDeviceMetricsOverride", size)

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression; a promise is awaited."""
        answer = self._call(
            "Runtime.evaluate", {"expression": script, "returnByValue": True, "awaitPromise": True, "userGesture": True}
        )
        if "exceptionDetails" in answer:
            raise AssertionError(answer["exceptionDetails"].get("exception", {}).get("description", str(answer)))
        return answer["result"].get("value")

    def until(self, script: str, what: str, seconds: float = _SECONDS) -> Any:
        """Wait until an expression is true; returns its value."""
        return wait_for(lambda: self.run(script), what, seconds)

    def mouse(self, kind: str, x: float, y: float, button: str = "left", device: str = "mouse", times: int = 1) -> None:
        """One event of a mouse or pen: "Pressed", "Moved" or "Released". times: 2 for the second of a double click."""
        held = {"left": 1, "right": 2, "middle": 4, "none": 0}[button] if kind != "Released" else 0
        event = {"type": f"mouse{kind}", "x": x, "y": y, "button": button, "buttons": held, "clickCount": times}
        self._call("Input.dispatchMouseEvent", event | {"pointerType": device})

    def click(self, x: float, y: float, button: str = "left", times: int = 1) -> None:
        """Click at a place of the window."""
        self.mouse("Moved", x, y, "none")
        self.mouse("Pressed", x, y, button, times=times)
        self.mouse("Released", x, y, button, times=times)

    def drag(self, *places: tuple[float, float], button: str = "left", device: str = "mouse") -> None:
        """Press at the first place, move over the others, release."""
        self.mouse("Pressed", *places[0], button, device=device)
        for place in places[1:]:
            self.mouse("Moved", *place, button, device=device)
        self.mouse("Released", *places[-1], button, device=device)

    def stroke(self, places: Iterable[tuple[float, float]], per_second: float) -> None:
        """Drag over places, so many a second, as a hand does: without waiting for the page."""
        start, *others = places
        self.mouse("Pressed", *start)
        event = {"type": "mouseMoved", "button": "left", "buttons": 1}
        began, sent = time.monotonic(), []
        for number, (x, y) in enumerate(others):
            sent.append(self._send("Input.dispatchMouseEvent", event | {"x": x, "y": y}))
            time.sleep(max(0.0, began + (number + 1) / per_second - time.monotonic()))
        self._answer(sent[-1])
        self.mouse("Released", *others[-1])

    @contextmanager
    def trace(self, *categories: str) -> Iterator[list[dict[str, Any]]]:
        """Trace these categories during the block; the list has the events after it."""
        events: list[dict[str, Any]] = []
        self._call(
            "Tracing.start", {"transferMode": "ReturnAsStream", "traceConfig": {"includedCategories": categories}}
        )
        yield events
        self._traced = None
        self._call("Tracing.end")
        while self._traced is None:
            self._note(json.loads(self._socket.recv(timeout=_SECONDS)))
        text, done = "", False
        while not done:
            part = self._call("IO.read", {"handle": self._traced})
            text, done = text + part["data"], part["eof"]
        events += json.loads(text)["traceEvents"]

    def wheel(self, x: float, y: float, down: float) -> None:
        """Turn the wheel at a place of the window, by so many pixels."""
        event = {"type": "mouseWheel", "x": x, "y": y, "deltaX": 0, "deltaY": down}
        self._call("Input.dispatchMouseEvent", event)

    def touch(self, *steps: list[tuple[float, float]], hold: float = 0.0) -> None:
        """Put fingers down where the first step says (a place for each), move them as the others say, lift them after
        `hold` seconds."""
        for number, step in enumerate(steps):
            points = [{"x": x, "y": y, "id": finger} for finger, (x, y) in enumerate(step)]
            kind = "touchMove" if number else "touchStart"
            self._call("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        time.sleep(hold)
        self._call("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    def key(self, key: str, modifiers: int = 0) -> None:
        """Press a key; modifiers: 1 Alt, 2 Ctrl, 8 Shift."""
        text = (
            {"text": {"Enter": "\r"}.get(key, key)} if (len(key) == 1 or key == "Enter") and not modifiers & 3 else {}
        )
        event = {"key": key, "modifiers": modifiers}
        event |= {"windowsVirtualKeyCode": _CODES[key]} if key in _CODES else {}
        # Both at once, because a key that is held for long can have another meaning.
        down = self._send("Input.dispatchKeyEvent", event | {"type": "keyDown"} | text)
        up = self._send("Input.dispatchKeyEvent", event | {"type": "keyUp"})
        for number in (down, up):
            self._answer(number)

    def screenshot(self, path: Path) -> None:
        """Write what the page shows as a PNG."""
        path.write_bytes(base64.b64decode(self._call("Page.captureScreenshot", {"format": "png"})["data"]))

    def close(self) -> None:
        """End the browser."""
        self._socket.close()
        self._process.kill()
        self._process.wait()

    def _load(self, method: str, parameters: dict[str, Any]) -> None:
        """Call what loads a page, and wait until it has loaded; no script runs meanwhile, in the page before it."""
        self._call("Page.bringToFront")
        self._loaded = False
        self._call(method, parameters)
        while not self._loaded or self.run("location.href") == "about:blank":
            self._note(json.loads(self._socket.recv(timeout=_SECONDS)))

    def _call(self, method: str, parameters: dict[str, Any] | None = None, *, tab: bool = True) -> dict[str, Any]:
        return self._answer(self._send(method, parameters, tab=tab))

    def _send(self, method: str, parameters: dict[str, Any] | None = None, *, tab: bool = True) -> int:
        """Send a command; returns its number."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters or {}}
        if tab:
            message["sessionId"] = self._session
        self._socket.send(json.dumps(message))
        return self._number

    def _answer(self, number: int) -> dict[str, Any]:
        """Wait for the answer to a command."""
        while True:
            answer = json.loads(self._socket.recv(timeout=_SECONDS))
            if answer.get("id") == number:
                if "error" in answer:
                    raise AssertionError(str(answer["error"]))
                result: dict[str, Any] = answer["result"]
                return result
            self._note(answer)

    def _note(self, event: dict[str, Any]) -> None:
        parameters = event.get("params", {})
        if event.get("method") == "Page.loadEventFired" and event.get("sessionId") == self._session:
            self._loaded = True
        elif event.get("method") == "Tracing.tracingComplete":
            self._traced = parameters["stream"]
        if event.get("method") == "Runtime.exceptionThrown":
            details = parameters["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description", details["text"]))
        elif event.get("method") == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.errors.append(parameters["entry"]["text"] + " " + parameters["entry"].get("url", ""))


def wait_for(condition: Any, what: str, seconds: float = _SECONDS) -> Any:
    """What a condition gives as soon as it is true; fails after so many seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"waited {seconds:.0f} s in vain for {what}")
