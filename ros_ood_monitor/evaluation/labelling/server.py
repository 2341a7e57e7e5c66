"""The page's server: loopback only, and only for who has the address with the token."""

from __future__ import annotations

import contextlib
import hmac
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
import json
import secrets
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.evaluation.labelling.label_file import LabelFile
from ros_ood_monitor.evaluation.labelling.recording import Recording

__all__ = ['LabelServer']

_HOST: Final = '127.0.0.1'
_MOST_BYTES: Final = 5_000_000  # of labels
_ASSETS: Final = {
    '': ('label.html', 'text/html; charset=utf-8'),
    'label.js': ('label.js', 'text/javascript; charset=utf-8'),
    'label.css': ('label.css', 'text/css; charset=utf-8'),
}
_HEADERS: Final = {
    'Content-Security-Policy': "default-src 'none'; img-src 'self' data:; script-src 'self'; "
    "style-src 'self'; connect-src 'self'; frame-ancestors 'none'; form-action 'none'",
    'Referrer-Policy': 'no-referrer',  # the address holds the token
    'X-Content-Type-Options': 'nosniff',
    'Cache-Control': 'no-store',
}


class LabelServer(ThreadingHTTPServer):
    """
    Serves the page of one bag.

    Other programs and pages of the same machine do not know the token; a page that guesses names
    of this machine (DNS rebinding) is refused by its Host header.

    Parameters
    ----------
    labels : LabelFile
        What is changed.
    port : int, default 0
        On loopback; 0 takes a free one.

    Raises
    ------
    ParameterError
        If the port is taken or not allowed.

    Attributes
    ----------
    recording : Recording
        What is shown; to be set before anything is served.

    """

    daemon_threads = True

    recording: Recording

    def __init__(self, labels: LabelFile, *, port: int = 0) -> None:
        self.labels = labels
        self.token = secrets.token_urlsafe(24)
        self.allow_reuse_address = port != 0
        try:
            super().__init__((_HOST, port), _Handler)
        except (OSError, OverflowError) as error:
            what = getattr(error, 'strerror', None) or error
            msg = f'port {port} of {_HOST} cannot be used ({what}); choose another --port'
            raise ParameterError(msg) from error

    @property
    def url(self) -> str:
        """Return the address of the page."""
        return f'http://{_HOST}:{self.server_address[1]}/{self.token}/'


class _Handler(BaseHTTPRequestHandler):
    server: LabelServer
    server_version = 'ood_monitor'
    sys_version = ''

    def do_GET(self) -> None:
        path, query = self._asked()
        if path is None:
            return
        if path in _ASSETS:
            name, kind = _ASSETS[path]
            self._answer((files(__package__ or '') / name).read_bytes(), kind)
        elif path == 'data':
            labels, recording = self.server.labels, self.server.recording
            facts = {**recording.facts(), 'labels': labels.plain(recording.start)}
            self._json({**facts, 'file': str(labels.path)})
        elif path == 'picture':
            self._picture(query)
        else:
            self._refuse(HTTPStatus.NOT_FOUND, 'there is no such page')

    def do_POST(self) -> None:
        path, _ = self._asked()
        if path is None:
            return
        if path != 'labels':
            self._refuse(HTTPStatus.NOT_FOUND, 'there is no such page')
            return
        # a form of another page cannot send this type
        if self.headers.get_content_type() != 'application/json':
            self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, 'labels come as application/json')
            return
        length = self.headers.get('Content-Length', '')
        if not length.isdecimal() or int(length) > _MOST_BYTES:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, 'labels are too long')
            return
        try:
            rows = json.loads(self.rfile.read(int(length)))
            count = self.server.labels.save(rows)
        except (ParameterError, ValueError, RecursionError) as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
            return
        self._json({'saved': count})

    def _asked(self) -> tuple[str | None, dict[str, list[str]]]:
        """Return what is asked for, or None where the answer was given already."""
        port = self.server.server_address[1]
        address = urlsplit(self.path)
        _, token, *rest = [*address.path.split('/', 2), '']
        is_ours = self.headers.get('Host') in (f'{_HOST}:{port}', f'localhost:{port}')
        if not is_ours or not hmac.compare_digest(token.encode(), self.server.token.encode()):
            self._refuse(HTTPStatus.FORBIDDEN, 'open the address that the terminal shows')
            return None, {}
        return rest[0], parse_qs(address.query)

    def _picture(self, query: dict[str, list[str]]) -> None:
        try:
            camera, place = (int(query[name][0]) for name in ('camera', 'place'))
        except (KeyError, ValueError):
            self._refuse(HTTPStatus.BAD_REQUEST, 'a picture has a camera and a place')
            return
        jpeg = self.server.recording.picture(camera, place)
        if jpeg is None:
            self._refuse(HTTPStatus.NOT_FOUND, 'there is no such picture')
        else:
            self._answer(jpeg, 'image/jpeg')

    def _json(self, value: Any) -> None:
        self._answer(json.dumps(value).encode(), 'application/json')

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        self._answer(f'{why}\n'.encode(), 'text/plain; charset=utf-8', status)

    def _answer(self, content: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        self.send_response(status)
        for name, value in (*_HEADERS.items(), ('Content-Type', kind)):
            self.send_header(name, value)
        self.send_header('Content-Length', str(len(content)))
        # a browser that is two pictures further does not wait for this one
        with contextlib.suppress(ConnectionError):
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Say nothing: the terminal shows the address."""
