"""A real engine whose answer to pictures of one blue is no number."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.engines.base import reading_of
from ros_ood_monitor.records import Reading

BLUE = (0, 0, 255)


class OddEngine:
    """
    As the engine that it is made of, but for pictures whose first pixel is pure blue.

    Parameters
    ----------
    engine : Engine
        Its answers are passed on.

    """

    def __init__(self, engine: Any) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def infer(self, batch: npt.NDArray[np.uint8]) -> Reading:
        """Score a batch."""
        reading = self._engine.infer(batch)
        raw_score = reading.raw_score.astype(np.float32)
        raw_score[(batch[:, 0, 0] == BLUE).all(axis=1)] = np.inf
        return reading_of(raw_score, reading.patch_score)


def poisoned(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return a picture to which the answer is no number."""
    made = rgb.copy()
    made[: len(made) // 4, : made.shape[1] // 4] = BLUE
    return made
