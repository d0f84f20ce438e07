"""Chromium without a window, for tests of pages: one process, spoken to through pipes (`--remote-debugging-pipe`), so
that no port is opened and no further package is needed."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
MISSING = "Chromium is not installed (Debian and Ubuntu: apt install chromium)"


def program() -> str | None:
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


class Browser:
    """A tab. Methods are those of the Chrome DevTools Protocol."""

    def __init__(self, commands: int, answers: int) -> None:
        self.commands, self.answers = os.fdopen(commands, "wb"), os.fdopen(answers, "rb")
        self.sent, self.session, self.waiting = 0, "", bytearray()
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Page.enable")
        self.call("Log.enable")
        self.call("Runtime.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self.sent += 1
        message = {"id": self.sent, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        self.commands.write(json.dumps(message).encode() + b"\0")
        self.commands.flush()
        while (answer := self._next()).get("id") != self.sent:
            pass
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        found: dict[str, Any] = answer["result"]
        return found

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self.waiting:
            if not (read := self.answers.read1(1 << 20)):
                raise RuntimeError("Chromium has ended")
            self.waiting += read
        message, _, self.waiting = self.waiting.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found

    def evaluate(self, expression: str) -> Any:
        """What JavaScript makes of it, a promise awaited."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(f"{expression}: {found['exceptionDetails']}")
        return found["result"].get("value")

    def wait(self, condition: str) -> Any:
        """Until the expression is true; what it then is."""
        for _ in range(600):
            if found := self.evaluate(condition):
                return found
            time.sleep(0.1)
        raise RuntimeError(
            f"{condition}: never became true; the page says {self.evaluate('document.body.innerText')!r}"
        )

    def size(self, width: int, height: int = 900, dark: bool = False) -> None:
        shape = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **shape)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, page: Path, fragment: str = "") -> None:
        """A page, with the fragment of its address, when its script has opened the episodes."""
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=f"{page.resolve().as_uri()}{fragment}")
        self.wait("document.readyState === 'complete' && document.getElementById('found')?.textContent")

    def screenshot(self, path: Path, whole: bool = False) -> None:
        shown = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shown["data"]))


@contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """Started with an empty profile in the folder `profile`, and ended."""
    found = program()
    assert found is not None, MISSING
    (to_read, commands), (answers, to_write) = os.pipe(), os.pipe()
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-pipe"]

    def connect() -> None:
        os.dup2(os.dup2(to_read, 20), 3)  # by way of numbers that are neither
        os.dup2(os.dup2(to_write, 21), 4)

    process = subprocess.Popen(
        [found, *flags, f"--user-data-dir={profile}", "about:blank"],
        preexec_fn=connect,
        close_fds=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(to_read)
    os.close(to_write)
    try:
        yield Browser(commands, answers)
    finally:
        process.terminate()
        process.wait(60)
