"""A real browser without a window, driven over a pipe: Chromium and nothing else is needed."""

from __future__ import annotations

import base64
from collections.abc import Iterator
import contextlib
import json
import os
from pathlib import Path
import select
import shutil
import signal
import subprocess
import tempfile
import time
from typing import Any

import pytest

NAMES = ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable')


def find_chromium() -> str:
    """Return the program, or skip the test."""
    for name in NAMES:
        found = shutil.which(name)
        if found:
            return found
    pytest.skip('no Chromium on this machine (Debian: apt-get install chromium)')


class Page:
    """A tab, over Chromium's debugging protocol."""

    def __init__(self, reader: int, writer: int, *, timeout: float) -> None:
        self._reader, self._writer, self._timeout = reader, writer, timeout
        self._buffer, self._number, self._session = b'', 0, ''
        self.problems: list[str] = []
        """What the page's console said of errors, and requests that left the page."""

    def call(self, method: str, **params: Any) -> Any:
        """Run a command of the protocol and return its result."""
        self._number += 1
        number = self._number
        message: dict[str, Any] = {'id': number, 'method': method, 'params': params}
        if self._session:
            message['sessionId'] = self._session
        left = memoryview(json.dumps(message).encode() + b'\0')
        while left:
            left = left[os.write(self._writer, left) :]
        deadline = time.monotonic() + self._timeout
        while True:
            answer = self._receive(deadline, method)
            if answer.get('id') == number:
                assert 'error' not in answer, answer['error']
                return answer['result']
            self._note(answer)

    def open(self, url: str, width: int, height: int) -> None:
        """Open an address and wait until the page says that it is ready."""
        target = self.call('Target.createTarget', url='about:blank')['targetId']
        attached = self.call('Target.attachToTarget', targetId=target, flatten=True)
        self._session = attached['sessionId']
        for domain in ('Page', 'Runtime', 'Log', 'Network'):
            self.call(f'{domain}.enable')
        self.size(width, height)
        self.call('Page.navigate', url=url)
        self.wait('document.body && document.body.dataset.ready === "yes"')

    def size(self, width: int, height: int) -> None:
        """Make the window so large."""
        self.call(
            'Emulation.setDeviceMetricsOverride',
            width=width, height=height, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip

    def run(self, script: str) -> Any:
        """Return the value of an expression; promises are awaited."""
        answer = self.call(
            'Runtime.evaluate', expression=script, returnByValue=True, awaitPromise=True
        )
        assert 'exceptionDetails' not in answer, answer['exceptionDetails']
        return answer['result'].get('value')

    def wait(self, condition: str) -> None:
        """Wait until an expression is true."""
        deadline = time.monotonic() + self._timeout
        while not self.run(f'!!({condition})'):
            assert time.monotonic() < deadline, f'still not: {condition}; {self.problems}'
            select.select([], [], [], 0.02)

    def middle(self, selector: str) -> tuple[float, float]:
        """Scroll to an element and return where its middle is in the window."""
        x, y = self.run(
            f'(() => {{ const node = document.querySelector({json.dumps(selector)});'
            'node.scrollIntoView({block: "center"}); const box = node.getBoundingClientRect();'
            'return [box.x + box.width / 2, box.y + box.height / 2]; })()'
        )
        return x, y

    def mouse(self, kind: str, x: float, y: float, *, held: bool = False) -> None:
        """Move, press or release the mouse."""
        pressed = {'button': 'left', 'clickCount': 1} if kind != 'mouseMoved' or held else {}
        self.call('Input.dispatchMouseEvent', type=kind, x=x, y=y, buttons=int(held), **pressed)

    def click(self, selector: str) -> None:
        """Click an element as a hand does."""
        x, y = self.middle(selector)
        self.mouse('mouseMoved', x, y)
        self.mouse('mousePressed', x, y, held=True)
        self.mouse('mouseReleased', x, y)

    def press(self, key: str) -> None:
        """Press a key."""
        codes = {
            'ArrowRight': 39,
            'ArrowLeft': 37,
            'Escape': 27,
            'Enter': 13,
            ' ': 32,
            'Delete': 46,
        }
        code = codes.get(key) or ord(key.upper())
        text = {'text': key} if len(key) == 1 else {}
        self.call(
            'Input.dispatchKeyEvent', type='keyDown', key=key, windowsVirtualKeyCode=code, **text
        )
        self.call('Input.dispatchKeyEvent', type='keyUp', key=key, windowsVirtualKeyCode=code)

    def screenshot(self) -> bytes:
        """Return what the window shows, as PNG."""
        return base64.b64decode(self.call('Page.captureScreenshot', format='png')['data'])

    def pdf(self) -> bytes:
        """Return the page as it prints."""
        return base64.b64decode(self.call('Page.printToPDF', printBackground=True)['data'])

    def dark(self, is_dark: bool = True) -> None:
        """Be a reader who likes it dark."""
        value = 'dark' if is_dark else 'light'
        self.call(
            'Emulation.setEmulatedMedia',
            features=[{'name': 'prefers-color-scheme', 'value': value}],
        )

    def _receive(self, deadline: float, method: str) -> dict[str, Any]:
        while b'\0' not in self._buffer:
            ready, _, _ = select.select([self._reader], [], [], deadline - time.monotonic())
            assert ready, f'no answer from Chromium to {method}'
            part = os.read(self._reader, 1 << 20)
            assert part, f'Chromium ended before it answered to {method}'
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b'\0')
        found: dict[str, Any] = json.loads(message)
        return found

    def _note(self, event: dict[str, Any]) -> None:
        params = event.get('params', {})
        if event['method'] == 'Runtime.exceptionThrown':
            self.problems.append(json.dumps(params['exceptionDetails'])[:2000])
        elif event['method'] == 'Log.entryAdded' and params['entry']['level'] == 'error':
            self.problems.append(params['entry']['text'])
        elif event['method'] == 'Network.requestWillBeSent':
            url = params['request']['url']
            if not url.startswith(('file:', 'data:', 'blob:', 'http://127.0.0.1:')):
                self.problems.append(f'request: {url}')


@contextlib.contextmanager
def browser(*, timeout: float = 20.0) -> Iterator[Page]:
    """Give a tab of a Chromium of its own; the test is skipped where there is none."""
    program = find_chromium()
    to_browser, writer = os.pipe()
    reader, from_browser = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        command = (
            f'exec "$@" 3<&{to_browser} 4>&{from_browser}', 'sh', program, '--headless',
            '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run',
            '--disable-background-networking', '--remote-debugging-pipe',
            f'--user-data-dir={Path(home, "profile")}', 'about:blank',
        )  # fmt: skip
        process = subprocess.Popen(
            ['bash', '-c', *command],
            pass_fds=(to_browser, from_browser),
            env={**os.environ, 'HOME': home},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(to_browser)
        os.close(from_browser)
        try:
            yield Page(reader, writer, timeout=timeout)
        finally:
            os.close(writer)
            os.close(reader)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
