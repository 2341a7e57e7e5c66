"""Progress bars with an estimated end, on stderr."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
import contextlib
import sys
from typing import Any, TypeVar

from tqdm import tqdm

__all__ = ['Progress']

_T = TypeVar('_T')


class Progress:
    """
    What the trainer shows while it works.

    Parameters
    ----------
    quiet : bool, default False
        Show nothing.

    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet

    def _bar(self, **options: Any) -> Any:
        # a log file gets a line every ten seconds, not ten a second
        interval = 0.1 if sys.stderr.isatty() else 10.0
        return tqdm(disable=self._quiet, mininterval=interval, dynamic_ncols=True, **options)

    @contextlib.contextmanager
    def counted(self, total: int, name: str, unit: str) -> Iterator[Callable[[int], object]]:
        """
        Show how many of something are done.

        Parameters
        ----------
        total : int
            Expected number.
        name, unit : str
            Of the bar.

        Yields
        ------
        callable
            Takes how many more are done.

        """
        with self._bar(total=total, desc=name, unit=unit) as bar:
            yield bar.update
            bar.total = bar.n  # frames outside of a window were expected, too

    def over(self, items: Iterable[_T], *, total: int, name: str, unit: str) -> Iterator[_T]:
        """
        Show how far an iteration is.

        Parameters
        ----------
        items : iterable
            What is iterated.
        total : int
            Expected number of items.
        name, unit : str
            Of the bar.

        Yields
        ------
        object
            The items.

        """
        with self.counted(total, name, unit) as done:
            for item in items:
                yield item
                done(1)

    def note(self, line: str) -> None:
        """Show a line that says what takes the time now."""
        if not self._quiet:
            tqdm.write(line, file=sys.stderr)

    @contextlib.contextmanager
    def steps(
        self, *, total: int, name: str, unit: str = 'step', of: str = 'held-out nll'
    ) -> Iterator[Callable[[int, float], None]]:
        """
        Show optimiser steps.

        Parameters
        ----------
        total : int
            Largest number of steps; early stopping ends before.
        name : str
            Of the bar.
        unit : str, default 'step'
            What is counted.
        of : str, default 'held-out nll'
            What is told with it.

        Yields
        ------
        callable
            Takes the step, and that value.

        """
        with self._bar(total=total, desc=name, unit=unit) as bar:

            def show(step: int, value: float) -> None:
                bar.set_postfix_str(f'{of} {value:.2f}', refresh=False)
                bar.update(step - bar.n)

            yield show
            bar.total = bar.n  # stopped early is done
