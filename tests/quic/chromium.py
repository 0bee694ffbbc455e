"""A headless Chromium for tests: Debian's, driven by its own chromedriver, on loopback alone."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Self

import pytest

#: Switches that a test machine needs: no sandbox in a container, and nothing that calls home.
_SWITCHES = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    # Without it a browser may first look for a proxy, for seconds.
    "--no-proxy-server",
    "--window-size=1100,750",
)
_SCRIPT_S = 15


@contextlib.asynccontextmanager
async def empty_page() -> AsyncIterator[str]:
    """Serve an empty page; its address, which is a secure context since it is localhost's."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Browsers open connections that they may want, and drop those that they did not.
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 15\r\n"
                b"connection: close\r\n\r\n<!doctype html>"
            )
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        # Not waited for: from Python 3.12 that waits for the browser's idle connections.
        server.close()


class Chromium:
    """A browser of its own profile; ends with its block.

    Calls of the driver wait, so each runs in a thread: the server they talk to is in this loop.
    """

    def __init__(self) -> None:
        self._driver: Any = None
        self._profile: tempfile.TemporaryDirectory[str] | None = None

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._start)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self._stop)

    def _start(self) -> None:
        selenium = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
        binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
        if binary is None or driver is None:
            pytest.skip("chromium or chromedriver is not installed (Debian: chromium-driver)")
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        options = selenium.ChromeOptions()
        options.binary_location = binary
        for switch in (*_SWITCHES, f"--user-data-dir={self._profile.name}"):
            options.add_argument(switch)
        service = selenium.ChromeService(driver)
        self._driver = selenium.Chrome(options=options, service=service)
        self._driver.set_script_timeout(_SCRIPT_S)

    def _stop(self) -> None:
        if self._driver is not None:
            process = self._driver.service.process
            self._driver.quit()
            if process is not None and process.poll() is None:
                process.kill()
        if self._profile is not None:
            self._profile.cleanup()

    async def open(self, url: str) -> None:
        """Go to a page."""
        await asyncio.to_thread(self._driver.get, url)

    async def run(self, script: str, *arguments: Any) -> Any:
        """Run the body of an async function of ``args``; what it returns, or an error's text."""
        wrapped = (
            "const done = arguments[arguments.length - 1];"
            "const args = Array.from(arguments).slice(0, -1);"
            f"(async () => {{ {script} }})()"
            ".then(done, (error) => done('failed: ' + error));"
        )
        return await asyncio.to_thread(self._driver.execute_async_script, wrapped, *arguments)

    async def value(self, expression: str) -> Any:
        """Evaluate an expression in the page."""
        return await asyncio.to_thread(self._driver.execute_script, f"return {expression}")

    async def until(self, expression: str) -> None:
        """Wait until an expression is true in the page."""
        async with asyncio.timeout(_SCRIPT_S):
            while not await self.value(expression):
                await asyncio.sleep(0.05)

    async def press(self, keys: str) -> None:
        """Type into whatever has the focus."""
        await asyncio.to_thread(self._driver.switch_to.active_element.send_keys, keys)

    async def dark(self, value: bool) -> None:
        """Prefer dark colours, or light ones."""
        feature = {"name": "prefers-color-scheme", "value": "dark" if value else "light"}
        await asyncio.to_thread(
            self._driver.execute_cdp_cmd, "Emulation.setEmulatedMedia", {"features": [feature]}
        )

    async def screenshot(self, path: str) -> None:
        """Write a picture of the page."""
        await asyncio.to_thread(self._driver.save_screenshot, path)

    async def messages(self) -> list[str]:
        """What the page wrote to the console."""
        entries = await asyncio.to_thread(self._driver.get_log, "browser")
        return [entry["message"] for entry in entries]
