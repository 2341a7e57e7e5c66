"""The few network inputs that a training keeps, and what each of them is for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.training.features.frame_reader import FrameReader
from ros_ood_monitor.training.features.table import FeatureTable
from ros_ood_monitor.training.frames.pseudo_ood import NEAR, pseudo_ood
from ros_ood_monitor.training.frames.split import Split
from ros_ood_monitor.training.held_out.calibrate import golden_images
from ros_ood_monitor.training.rows import spread

__all__ = ['Pictures']

_PSEUDO_FRAMES = 32
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
        What pseudo-OOD is made from: validation frames, never fitted ones, which stay known when
        a part of them changes, and never those that set the threshold.
    source_rows : ndarray of shape (k,), int64
        Their rows.
    pseudo : dict of str to ndarray
        Pseudo-OOD, by kind.

    """

    kept: dict[int, npt.NDArray[np.uint8]]
    golden: npt.NDArray[np.uint8]
    ranges: npt.NDArray[np.uint8]
    sources: npt.NDArray[np.uint8]
    source_rows: npt.NDArray[np.int64]
    pseudo: dict[str, npt.NDArray[np.uint8]]

    @classmethod
    def choose(
        cls, reader: FrameReader, table: FeatureTable, split: Split, *, seed: int
    ) -> Pictures:
        """
        Take what the table kept, and read some validation frames again.

        Parameters
        ----------
        reader : FrameReader
            Reads them.
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
        fit = set(split.fit.tolist())
        rows = _of_each_camera(split.validation, table.camera[split.validation], _PSEUDO_FRAMES)
        sources = np.stack([image for _, image in reader.pictures(table, rows)])
        return cls(
            kept=kept,
            golden=golden_images(sources, seed=seed),
            ranges=np.stack([kept[row] for row in sorted(kept) if row in fit]),
            sources=sources,
            source_rows=rows,
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


def _of_each_camera(
    rows: npt.NDArray[np.int64], camera: npt.NDArray[np.int64], most: int
) -> npt.NDArray[np.int64]:
    """Return at most so many rows, ascending: as many of each camera, each spread evenly."""
    chosen: list[npt.NDArray[np.int64]] = []
    own = sorted((rows[camera == one] for one in np.unique(camera)), key=len)
    for k, of_one in enumerate(own):  # what a rare camera leaves is for the others
        share = (most - sum(map(len, chosen))) // (len(own) - k)
        if share:
            chosen.append(of_one[spread(len(of_one), share)])
    return np.sort(np.concatenate(chosen))
