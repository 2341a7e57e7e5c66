"""Where lines of a verb go: the terminal, without tearing what shows how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
import contextlib
import logging
import sys
from typing import Any, TypeVar

__all__ = ['Console']

T = TypeVar('T')

_LOGGER = 'ros_ood_monitor'


class Console:
    """
    Lines to stdout, warnings and how far it is to stderr, none of them across another.

    While it is open, the package's log warnings come out as lines of their own.

    Parameters
    ----------
    quiet : bool
        Print warnings only.

    """

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._bar: Any = None
        self._counted = ''  # on the terminal's line, which is to be ended
        self._handler = _ToConsole(self)

    def __enter__(self) -> Console:
        logger = logging.getLogger(_LOGGER)
        logger.addHandler(self._handler)
        self._propagate, logger.propagate = logger.propagate, False
        return self

    def __exit__(self, *_: object) -> None:
        logger = logging.getLogger(_LOGGER)
        logger.removeHandler(self._handler)
        logger.propagate = self._propagate

    def print(self, *lines: str) -> None:
        """Print lines, unless quiet."""
        if not self._quiet:
            self._write(lines, sys.stdout)

    def warn(self, line: str) -> None:
        """Print a warning, always."""
        self._write([f'warning: {line}'], sys.stderr)

    def progress(self, items: Iterable[T], total: int, *, unit: str = 'frame') -> Iterator[T]:
        """Pass items on and show how far they are, as `bar` does."""
        with self.bar(total, unit=unit) as done:
            for item in items:
                yield item
                done(1)

    @contextlib.contextmanager
    def bar(
        self, total: int, name: str = '', *, unit: str = 'frame'
    ) -> Iterator[Callable[[int], object]]:
        """
        Show a bar with an estimated end, on a terminal; it is taken away whatever happens.

        Parameters
        ----------
        total : int
            Expected number; nothing is shown of 0.
        name, unit : str
            Of the bar.

        Yields
        ------
        callable
            Takes how many more are done.

        """
        if not total or self._quiet or not sys.stderr.isatty():
            yield lambda _: None
            return
        from tqdm import tqdm

        options = {'unit': unit, 'file': sys.stderr, 'leave': False}
        try:
            with tqdm(total=total, desc=name or None, **options) as self._bar:
                yield self._bar.update
        finally:
            self._bar = None

    @contextlib.contextmanager
    def counting(self, *, elsewhere: bool = False) -> Iterator[Callable[[str, str], None]]:
        """
        Show how far something is on a line of a terminal, which is ended whatever happens.

        Parameters
        ----------
        elsewhere : bool, default False
            Print what is done once where there is no terminal, instead of nothing.

        Yields
        ------
        callable
            Takes what is done and how far it is, such as "reading" and "50 frames".

        """
        on_terminal, last = sys.stderr.isatty(), ''

        def show(what: str, how_far: str) -> None:
            nonlocal last
            if on_terminal and not self._quiet:
                if what != last:
                    self._end_line()
                text = f'{what}: {how_far}'
                if text != self._counted:
                    padded = text.ljust(len(self._counted))  # over what was longer
                    print(f'\r{padded}', end='', file=sys.stderr, flush=True)
                self._counted = text
            elif elsewhere and what != last and not self._quiet:
                print(what, file=sys.stderr, flush=True)
            last = what

        try:
            yield show
        finally:
            self._end_line()

    def _end_line(self) -> None:
        if self._counted:
            print(file=sys.stderr, flush=True)
        self._counted = ''

    def _write(self, lines: Iterable[str], file: Any) -> None:
        self._end_line()
        if self._bar is not None:
            self._bar.clear()
        for line in lines:
            print(line, file=file, flush=True)
        if self._bar is not None:
            self._bar.refresh()


class _ToConsole(logging.Handler):
    def __init__(self, console: Console) -> None:
        super().__init__(logging.WARNING)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        self._console.warn(record.getMessage())
