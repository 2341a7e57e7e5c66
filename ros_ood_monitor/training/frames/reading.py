"""
Frames as network inputs, decoded ahead of whoever takes them.

Decoding and resizing run in threads: OpenCV gives up Python's lock for both, so threads are as
parallel as processes and need neither copies between them nor a guarded main module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.ahead import map_ahead
from ros_ood_monitor.errors import BagError, DecodeError
from ros_ood_monitor.preprocess import Preprocessor

__all__ = ['Decoded', 'Item', 'Picture', 'map_ahead', 'pool_size', 'read_ahead']


class Picture(NamedTuple):
    """A decoded picture (height, width, 3) uint8, and its time in s where it has one."""

    rgb: npt.NDArray[np.uint8]
    stamp: float | None


@dataclass(frozen=True, eq=False)
class Item:
    """
    A frame that is not decoded yet.

    Parameters
    ----------
    position : int
        Its place in the sequence, whether it decodes or not.
    name : str
        What messages call it.
    decode : callable
        Returns its picture; raises DecodeError or BagError.
    camera : str, default ''
        Topic of a bag that it is of; frames of one sequence that differ in it are of several
        cameras, which take turns.

    """

    position: int
    name: str
    decode: Callable[[], Picture]
    camera: str = ''


class Decoded(NamedTuple):
    """
    What came of an item: its network input, or why there is none.

    Parameters
    ----------
    item : Item
        The frame.
    image : ndarray of shape (h, w, 3), uint8, or None
        Network input.
    stamp : float or None
        Time of the image in s.
    problem : str
        Why it did not decode; empty where it did.
    size : tuple of int
        Width and height of the picture as it came, in px.

    """

    item: Item
    image: npt.NDArray[np.uint8] | None
    stamp: float | None
    problem: str
    size: tuple[int, int] = (0, 0)


def read_ahead(
    items: Iterable[Item], preprocess: Preprocessor, *, workers: int = 0
) -> Iterator[Decoded]:
    """
    Decode and resize items in their order, with a bounded number of them under way.

    Parameters
    ----------
    items : iterable of Item
        Frames; taken from the calling thread.
    preprocess : Preprocessor
        Resize to the network's input.
    workers : int, default 0
        Threads that decode; 0 decodes in the calling thread.

    Returns
    -------
    iterator of Decoded
        One per item, in the same order.

    """

    def work(item: Item) -> Decoded:
        try:
            picture = item.decode()
        except (DecodeError, BagError) as error:
            return Decoded(item, None, None, str(error))
        height, width = picture.rgb.shape[:2]
        image = preprocess(picture.rgb)[0]  # (h, w, 3)
        return Decoded(item, image, picture.stamp, '', (width, height))

    return map_ahead(work, items, workers=workers)


def pool_size(workers: int) -> int:
    """
    Return how many threads of a pool use ``workers`` and the main one, which then only waits.

    Parameters
    ----------
    workers : int
        Threads beside the main one.

    Returns
    -------
    int
        For `map_ahead`; 0 where all is done in the main thread.

    """
    return 1 + workers if workers else 0
