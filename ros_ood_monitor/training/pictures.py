"""The few network inputs that a training keeps, and what each of them is for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.training.calibrate import golden_images
from ros_ood_monitor.training.pseudo_ood import NEAR, pseudo_ood
from ros_ood_monitor.training.rows import spread
from ros_ood_monitor.training.split import Split
from ros_ood_monitor.training.table import FeatureTable

__all__ = ['Pictures']

_PSEUDO_FRAMES = 32
_FEWEST_SOURCES = 8
_NEAR_ROUNDS = 3


@dataclass(frozen=True, eq=False)
class Pictures:
    """
    Network inputs, all (k, h, w, 3) uint8.

    Parameters
    ----------
    kept : dict of int to ndarray
        Frames spread over the stream, by row.
    golden : ndarray
        What every engine must reproduce.
    ranges : ndarray
        Fitted frames, for the ranges of int8.
    sources : ndarray
        What pseudo-OOD is made from: held-out frames where enough of them were kept.
    pseudo : dict of str to ndarray
        Pseudo-OOD, by kind.

    """

    kept: dict[int, npt.NDArray[np.uint8]]
    golden: npt.NDArray[np.uint8]
    ranges: npt.NDArray[np.uint8]
    sources: npt.NDArray[np.uint8]
    pseudo: dict[str, npt.NDArray[np.uint8]]

    @classmethod
    def choose(cls, table: FeatureTable, split: Split, *, seed: int) -> Pictures:
        """
        Choose among what the table kept.

        Parameters
        ----------
        table : FeatureTable
            All frames.
        split : Split
            The three parts.
        seed : int
            Of everything random.

        Returns
        -------
        Pictures
            Equal arguments give equal pictures.

        """
        kept = table.images
        rows = sorted(kept)
        fit = set(split.fit.tolist())
        fitted = [row for row in rows if row in fit] or rows
        # of frames that were not fitted, where there are enough: a known picture stays known
        others = [row for row in rows if row not in fit]
        source = others if len(others) >= _FEWEST_SOURCES else rows
        sources = np.stack([kept[source[k]] for k in spread(len(source), _PSEUDO_FRAMES)])
        return cls(
            kept=kept,
            golden=golden_images(kept, split, seed=seed),
            ranges=np.stack([kept[row] for row in fitted]),
            sources=sources,
            pseudo=pseudo_ood(sources, seed=seed),
        )

    def all_pseudo(self) -> npt.NDArray[np.uint8]:
        """Return the pseudo-OOD pictures, kind after kind."""
        return np.concatenate(list(self.pseudo.values()))

    def pseudo_rows(self, features: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float32]]:
        """
        Return the features of `all_pseudo`, (m, width), by kind.

        Parameters
        ----------
        features : ndarray of shape (m, width), float32
            Kind after kind.

        Returns
        -------
        dict of str to ndarray of shape (k, width), float32
            In the order of the kinds.

        """
        ends = np.cumsum([len(images) for images in self.pseudo.values()])
        return dict(zip(self.pseudo, np.split(features, ends[:-1]), strict=True))

    def near(self, *, seed: int) -> dict[str, npt.NDArray[np.uint8]]:
        """
        Make near pseudo-OOD pictures, three of each source and kind.

        Parameters
        ----------
        seed : int
            That of `choose`.

        Returns
        -------
        dict of str to ndarray
            By kind.

        """
        rounds = [
            pseudo_ood(self.sources, seed=seed + number, kinds=NEAR)
            for number in range(1, 1 + _NEAR_ROUNDS)
        ]
        return {kind: np.concatenate([made[kind] for made in rounds]) for kind in NEAR}
