"""Filling a shard: the frames of one sequence through the backbone, near duplicates left out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
import math
from typing import Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from ros_ood_monitor.bundle.sketch import frame_digest
from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.health.measures import grey_of, measure, repeated, STILL
from ros_ood_monitor.preprocess import Preprocessor
from ros_ood_monitor.training.features.runners import Runner, side_by_side
from ros_ood_monitor.training.features.shard import Shard, THUMB
from ros_ood_monitor.training.frames.reading import Decoded, Item, map_ahead, read_ahead

__all__ = ['RECENT', 'fill', 'thumbnail']

RECENT: Final = 32
"""Frames taken with which the next one is compared."""

_MOST_LEFT_OUT: Final = 64  # frames that wait beside a batch


def thumbnail(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """
    Return a small grey picture by which frames are compared.

    Parameters
    ----------
    image : ndarray of shape (h, w, 3), uint8
        Network input.

    Returns
    -------
    ndarray of shape (16, 16), uint8
        Grey levels.

    """
    small = cv2.resize(image, (THUMB, THUMB), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)  # type: ignore[return-value]


def fill(
    shard: Shard,
    items: Callable[[int], Iterator[Item]],
    run: Runner,
    preprocess: Preprocessor,
    *,
    workers: int = 0,
    near_duplicates: float = 0.0,
    on_frame: Callable[[int], object] = lambda _: None,
) -> None:
    """
    Read a sequence from where its shard ends, to its end.

    The shard is checkpointed however this ends, and left incomplete where it ends by an exception.

    Parameters
    ----------
    shard : Shard
        Where features go.
    items : callable
        From a position to the sequence's items from there on.
    run : Runner
        The backbone.
    preprocess : Preprocessor
        Resize to its input size.
    workers : int, default 0
        Threads beside the main one, which decode ahead and run the backbone.
    near_duplicates : float, default 0
        Frames whose thumbnail differs by less (root mean square, grey levels) from any of the last
        32 frames taken are left out; 0 keeps all. More than one, because a robot goes to and fro,
        and because the cameras of one bag take turns; few, so that memory and time stay constant.
    on_frame : callable
        Told how many frames were dealt with.

    Raises
    ------
    TrainingError
        If a feature is not finite or the cache cannot be written.

    """

    def compute(batch: list[_Seen]) -> tuple[list[_Seen], Iterator[npt.NDArray[np.float32]]]:
        images = [seen.decoded.image for seen in batch if seen.is_taken]
        return batch, iter(run(np.stack(images)) if images else ())  # type: ignore[arg-type]

    frames = read_ahead(items(shard.state.position), preprocess, workers=workers)
    last = _last_pictures(shard, items, preprocess)
    seen = _look(frames, shard.last_thumbs(RECENT), last, near_duplicates)
    try:
        batches = _batches(seen, run.batch_size)
        for batch, rows in map_ahead(compute, batches, workers=side_by_side(run, workers)):
            for one in batch:
                on_frame(1)
                _record(shard, one, rows)
    finally:
        shard.checkpoint()


class _Seen(NamedTuple):
    """A frame, its thumbnail (empty where it did not decode), and whether it is taken."""

    decoded: Decoded
    thumb: npt.NDArray[np.uint8]
    is_taken: bool
    repeats: float = math.nan  # see `record_type`
    grey: npt.NDArray[np.uint8] | None = None  # of one that is taken, see `grey_of`


def _last_pictures(
    shard: Shard, items: Callable[[int], Iterator[Item]], preprocess: Preprocessor
) -> dict[str, npt.NDArray[np.uint8]]:
    """Return the last picture of each camera in a shard, as `grey_of` makes it."""
    rows = shard.rows()
    if rows is None:
        return {}
    # ascending, so that the last of each camera remains
    last = dict(zip(rows['camera'].tolist(), rows['position'].tolist(), strict=True))
    wanted = (item for item in items(min(last.values())) if item.position in last.values())
    found = read_ahead(islice(wanted, len(last)), preprocess)
    return {one.item.camera: grey_of(one.image) for one in found if one.image is not None}


def _look(
    frames: Iterable[Decoded],
    taken: npt.NDArray[np.uint8],
    last: dict[str, npt.NDArray[np.uint8]],
    near_duplicates: float,
) -> Iterator[_Seen]:
    """Tell which frames are taken; those that are not give up their pictures."""
    recent = deque(taken, maxlen=RECENT)
    nothing = np.empty(0, np.uint8)
    for decoded in frames:
        if decoded.image is None:
            yield _Seen(decoded, nothing, is_taken=False)
            continue
        thumb = thumbnail(decoded.image)
        if near_duplicates and recent and _nearest(thumb, recent) < near_duplicates:
            yield _Seen(decoded._replace(image=None), thumb, is_taken=False)
            continue
        recent.append(thumb)
        grey, before = grey_of(decoded.image), last.get(decoded.item.camera)
        last[decoded.item.camera] = grey
        yield _Seen(decoded, thumb, is_taken=True, repeats=_repeats(grey, before), grey=grey)


def _repeats(grey: npt.NDArray[np.uint8], before: npt.NDArray[np.uint8] | None) -> float:
    if before is None:
        return math.nan
    changed, rows, _ = repeated(grey, before)
    return rows if changed > STILL else math.nan


def _batches(frames: Iterable[_Seen], size: int) -> Iterator[list[_Seen]]:
    """Yield all frames in order, each time with ``size`` or fewer that are taken."""
    batch: list[_Seen] = []
    for seen in frames:
        batch.append(seen)
        if sum(one.is_taken for one in batch) == size or len(batch) == size + _MOST_LEFT_OUT:
            yield batch
            batch = []
    if batch:
        yield batch


def _record(shard: Shard, seen: _Seen, rows: Iterator[npt.NDArray[np.float32]]) -> None:
    """Write down what came of a frame; positions count in order."""
    decoded = seen.decoded
    if seen.is_taken:
        _append(shard, seen, next(rows))
        return
    if decoded.problem:
        shard.state.skipped.append((decoded.item.name, decoded.problem))
    else:
        shard.state.near_duplicates += 1
    shard.state.position = decoded.item.position + 1


def _append(shard: Shard, seen: _Seen, features: npt.NDArray[np.float32]) -> None:
    decoded = seen.decoded
    assert decoded.image is not None
    if not np.all(np.isfinite(features)):
        msg = f'features of {decoded.item.name!r} are not finite: check its picture'
        raise TrainingError(msg)
    row = shard.append(
        position=decoded.item.position,
        stamp=decoded.stamp,
        digest=frame_digest(decoded.image),
        size=decoded.size,
        camera=decoded.item.camera,
        health=measure(decoded.image, seen.grey),
        repeats=seen.repeats,
        thumb=seen.thumb,
        features=features,
    )
    if shard.wants_image(row, decoded.item.camera):
        shard.keep_image(row, decoded.image, decoded.item.camera)


def _nearest(thumb: npt.NDArray[np.uint8], recent: Iterable[npt.NDArray[np.uint8]]) -> float:
    """Return the root mean square difference from the most similar one."""
    difference = np.stack(list(recent)).astype(np.float32) - thumb  # (k, 16, 16)
    return float(np.sqrt(np.square(difference).mean(axis=(1, 2)).min()))
