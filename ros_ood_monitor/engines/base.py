"""What every engine promises: network input in, Reading out."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.records import Reading

__all__ = ['Engine']


class Engine(Protocol):
    """Backbone and scorer of one bundle, ready on one device."""

    precision: str
    """The bundle's precision that it runs."""

    def infer(self, batch: npt.NDArray[np.uint8]) -> Reading:
        """
        Score a batch of network inputs.

        Parameters
        ----------
        batch : ndarray of shape (n, height, width, 3), uint8
            RGB pixels at the bundle's input size, n at least 1.

        Returns
        -------
        Reading
            Scores of the n inputs.

        Raises
        ------
        EngineError
            If the shape does not fit, the library fails, or a score is not finite.

        """
        ...

    def warm_up(self) -> None:
        """Run once, so that the first frame does not pay for lazy initialisation."""
        ...

    def describe(self) -> dict[str, str]:
        """
        Return the facts that diagnostics show.

        Returns
        -------
        dict of str to str
            At least ``engine``, ``version``, ``device``, ``precision`` and ``chosen``, which is
            why it is this one.

        """
        ...

    def close(self) -> None:
        """Give back what the device holds; the engine is unusable afterwards."""
        ...
