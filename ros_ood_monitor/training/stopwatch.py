"""How long the parts of a training took."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import time

__all__ = ['Stopwatch']


class Stopwatch:
    """
    Sums wall time by name.

    Attributes
    ----------
    seconds : dict of str to float
        In the order of the first use, in s.

    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """
        Add the block's time to a part.

        Parameters
        ----------
        name : str
            Of the part.

        Yields
        ------
        None
            Nothing.

        """
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
