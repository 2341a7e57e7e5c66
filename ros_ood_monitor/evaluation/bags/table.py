"""The frames of all bags end to end, and how many of them a bootstrap draws together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.evaluation.bags.blocks import block_length
from ros_ood_monitor.evaluation.bags.events import Mask
from ros_ood_monitor.evaluation.bags.judged import JudgedBag
from ros_ood_monitor.evaluation.bags.scored import ALERT

__all__ = ['Bootstrap', 'Table', 'block_frames', 'choose_block']


@dataclass(frozen=True)
class Bootstrap:
    """
    How intervals are drawn.

    Parameters
    ----------
    block : int
        Consecutive frames of one camera that are drawn together.
    seconds : float
        How long that is at the median frame period.
    seed : int
        Seed of the drawing.
    resamples : int
        How often is drawn.

    """

    block: int
    seconds: float
    seed: int
    resamples: int


@dataclass(frozen=True, eq=False)
class Table:
    """
    The frames of all bags end to end, bag by bag in the order of recording.

    Parameters
    ----------
    raw_score : ndarray of shape (n,), float64
        Scores.
    label : ndarray of shape (n,), int8
        As in `JudgedBag`.
    judged : ndarray of shape (n,), bool
        False where the monitor refused to judge the frame, whose score then tells nothing.
    is_alert, false_start : ndarray of shape (n,), bool
        Frames in ALERT, and those at which false alerts began.
    bag : ndarray of shape (n,), int32
        Place of each frame's bag.
    camera : ndarray of shape (n,), int32
        Place of each frame's camera in ``cameras``.
    cameras : tuple of str
        Names of all cameras, those of one name in several bags as one.
    kinds : dict of str to ndarray of shape (n,), bool
        Frames of each kind.

    """

    raw_score: npt.NDArray[np.float64]
    label: npt.NDArray[np.int8]
    judged: Mask
    is_alert: Mask
    false_start: Mask
    bag: npt.NDArray[np.int32]
    camera: npt.NDArray[np.int32]
    cameras: tuple[str, ...]
    kinds: dict[str, Mask]

    @classmethod
    def of(cls, bags: Sequence[JudgedBag]) -> Table:
        """Put bags end to end."""
        cameras = tuple(dict.fromkeys(one for bag in bags for one in bag.scored.facts.cameras))
        kinds = dict.fromkeys(sorted({kind for bag in bags for kind in bag.kinds}))
        place = [
            np.array([cameras.index(one) for one in bag.scored.facts.cameras], np.int32)
            for bag in bags
        ]
        sizes = [len(bag.scored) for bag in bags]
        return cls(
            raw_score=np.concatenate([bag.scored.raw_score for bag in bags]),
            label=np.concatenate([bag.label for bag in bags]),
            judged=np.concatenate([bag.scored.judged for bag in bags]),
            is_alert=np.concatenate([bag.scored.state == ALERT for bag in bags]),
            false_start=np.concatenate([bag.false_start for bag in bags]),
            bag=np.repeat(np.arange(len(bags), dtype=np.int32), sizes),
            camera=np.concatenate(
                [mine[bag.scored.camera] for mine, bag in zip(place, bags, strict=True)]
            ),
            cameras=cameras,
            kinds={
                kind: np.concatenate(
                    [bag.kinds.get(kind, np.zeros(len(bag.scored), np.bool_)) for bag in bags]
                )
                for kind in kinds
            },
        )

    @property
    def judged_label(self) -> npt.NDArray[np.int8]:
        """Return labels (n,) in which a frame that was not judged is neither."""
        return np.where(self.judged, self.label, np.int8(-1))

    def label_for(self, kind: str) -> npt.NDArray[np.int8]:
        """Return labels (n,) in which what is out-of-distribution in other ways is neither."""
        return np.where(self.kinds[kind] | (self.label == 0), self.label, np.int8(-1))


def block_frames(table: Table, rows: npt.NDArray[np.int64], block: int) -> int:
    """
    Return the length of a block among frames of several cameras, which take turns.

    Parameters
    ----------
    table : Table
        All frames.
    rows : ndarray of shape (k,), int64
        Which ones.
    block : int
        Length for one camera, in frames.

    Returns
    -------
    int
        In frames; a third of them at most.

    """
    pairs = table.bag[rows] * np.int64(len(table.cameras)) + table.camera[rows]  # (k,)
    cameras = np.unique(pairs).size / max(1, np.unique(table.bag[rows]).size)
    return max(1, min(round(block * cameras), -(-rows.size // 3)))


def choose_block(table: Table, raw_score: npt.NDArray[np.float64]) -> int:
    """
    Choose the length of a block from the ranks of scores, less the mean rank of their class.

    Parameters
    ----------
    table : Table
        The frames.
    raw_score : ndarray of shape (n,), float64
        A detector's scores of them.

    Returns
    -------
    int
        In frames of one camera; see `block_length`.

    """
    rank = np.unique(raw_score, return_inverse=True)[1].astype(np.float64)  # (n,)
    rank /= max(1.0, float(rank.max()))
    label = table.judged_label
    for value in np.unique(label):
        rank[label == value] -= rank[label == value].mean()
    rank[label < 0] = 0.0
    tracks = table.bag * np.int64(len(table.cameras)) + table.camera  # (n,)
    order = np.argsort(tracks, kind='stable')
    parts = np.flatnonzero(np.diff(tracks[order])) + 1
    return block_length(np.split(rank[order], parts))
