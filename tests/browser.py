"""Chromium without a window, driven over two pipes by its own DevTools protocol; no library is needed."""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
    "--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-pipe",
)  # fmt: skip


class Browser:
    """One page. `with Browser() as browser: browser.open(path)`."""

    def __enter__(self) -> Browser:
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        theirs_in, self.send_to = os.pipe()
        self.read_from, theirs_out = os.pipe()
        # The protocol is spoken on descriptors 3 and 4: the shell puts the pipes there, wherever Python opened them.
        command = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
        self.process = subprocess.Popen(
            ["bash", "-c", command, "bash", CHROMIUM, *OPTIONS, f"--user-data-dir={self.folder.name}", "about:blank"],
            pass_fds=(theirs_in, theirs_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        self.numbers, self.rest, self.session, self.events = itertools.count(1), b"", "", []
        pages = self.call("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in pages if target["type"] == "page")
        self.session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(self, *_: Any) -> None:
        self.process.terminate()
        self.process.wait(20)
        os.close(self.send_to)
        os.close(self.read_from)
        self.folder.cleanup()

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self.rest:
            more = os.read(self.read_from, 1 << 20)
            assert more, "Chromium has gone"
            self.rest += more
        text, _, self.rest = self.rest.partition(b"\0")
        return json.loads(text)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command of the protocol, and its result."""
        number = next(self.numbers)
        command = {"id": number, "method": method, "params": parameters}
        if self.session:
            command["sessionId"] = self.session
        os.write(self.send_to, json.dumps(command).encode() + b"\0")
        while (message := self._message()).get("id") != number:
            self.events.append(message)
        assert "error" not in message, (method, message)
        return message["result"]

    def open(self, path: str | Path, anchor: str = "", width: int = 1280, height: int = 900) -> None:
        """Load a file. What was heard before is forgotten."""
        self.size(width, height)
        self._go("about:blank")  # another anchor alone would not load the page again
        self._go(Path(path).resolve().as_uri() + (f"#{anchor}" if anchor else ""))

    def _go(self, url: str) -> None:
        self.events.clear()
        self.call("Page.navigate", url=url)
        while not self.heard("Page.loadEventFired"):
            self.events.append(self._message())

    def size(self, width: int, height: int) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )

    def js(self, expression: str) -> Any:
        """The value of an expression in the page."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        value = found["result"].get("value")
        assert value != {}, f"{expression} is an element, which has no value: ask for something of it"
        return value

    def click(self, selector: str, button: str = "left") -> None:
        """Press a button of the mouse in the middle of an element."""
        x, y = self.js(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView({{block: 'center'}});"
            " const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, clickCount=1)

    def key(self, name: str) -> None:
        for kind in ("keyDown", "keyUp"):
            text = {"text": {"Enter": "\r"}.get(name, name)} if name in ("Enter", " ") and kind == "keyDown" else {}
            code = {
                "Enter": 13, "Tab": 9, "ArrowDown": 40, "ArrowUp": 38, "ArrowLeft": 37, "ArrowRight": 39, "Escape": 27,
                " ": 32,
            }[name]  # fmt: skip
            self.call("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code, **text)

    def type(self, selector: str, text: str) -> None:
        """Replace what stands in a field, as if typed."""
        self.js(f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.focus(); e.select(); }})()")
        for letter in text:
            self.call("Input.insertText", text=letter)

    def touch(self, *places: tuple[float, float]) -> None:
        """Put a finger on the first place, move it over the others, and lift it."""
        self.call("Emulation.setTouchEmulationEnabled", enabled=True)
        for number, (x, y) in enumerate(places):
            kind = "touchMove" if number else "touchStart"
            self.call("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": x, "y": y}])
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
        self.call("Emulation.setTouchEmulationEnabled", enabled=False)

    def choose_file(self, selector: str, path: str | Path) -> None:
        found = self.call("Runtime.evaluate", expression=f"document.querySelector({json.dumps(selector)})")
        self.call("DOM.setFileInputFiles", files=[str(path)], objectId=found["result"]["objectId"])

    def screenshot(self, path: str | Path, whole: bool = False) -> None:
        found = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        Path(path).write_bytes(base64.b64decode(found["data"]))

    def heard(self, *methods: str) -> list[dict[str, Any]]:
        """What the page said of itself: errors, requests, log entries."""
        return [event["params"] for event in self.events if event.get("method") in methods]
