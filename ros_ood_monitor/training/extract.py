"""
Features of every frame, computed by the exported backbone in the runtime that the robot uses.

Features go to disk as they come, so memory does not grow with the number of frames, and frames
that were read before are not read again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
import contextlib
from functools import partial
from pathlib import Path
import tempfile
from typing import Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from ros_ood_monitor.bundle.sketch import frame_digest
from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.health import measure
from ros_ood_monitor.preprocess import Preprocessor, RESIZE_RULE
from ros_ood_monitor.training.backbones import BackboneTap
from ros_ood_monitor.training.cache import cache_key, explained, KEPT_IMAGES, Shard, THUMB
from ros_ood_monitor.training.datasets import Dataset
from ros_ood_monitor.training.reading import Decoded, in_order, Item, read_ahead
from ros_ood_monitor.training.runners import Runner, side_by_side
from ros_ood_monitor.training.table import FeatureTable

__all__ = ['extract', 'fill', 'thumbnail']

_RECENT: Final = 32  # frames taken with which the next one is compared
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


@contextlib.contextmanager
def extract(
    dataset: Dataset,
    run: Runner,
    preprocess: Preprocessor,
    taps: Sequence[BackboneTap],
    *,
    backbone_sha256: str,
    cache: Path | None = None,
    workers: int = 0,
    near_duplicates: float = 0.0,
    only: Mapping[int, Collection[int]] | None = None,
    most_images: int = KEPT_IMAGES,
    cell_width: int = 0,
    elsewhere: Callable[[Sequence[Path], Callable[[int], object]], object] | None = None,
    on_frame: Callable[[int], object] = lambda _: None,
) -> Iterator[FeatureTable]:
    """
    Give the features of all frames; those that the cache has are not computed again.

    Parameters
    ----------
    dataset : Dataset
        The frames.
    run : Runner
        The backbone.
    preprocess : Preprocessor
        Resize to its input size.
    taps : sequence of BackboneTap
        What it gives.
    backbone_sha256 : str
        Of the exported backbone: what the features depend on.
    cache : Path, optional
        Folder that keeps them; a temporary one, deleted at the end, where it is not given.
    workers : int, default 0
        Threads beside the main one, which decode ahead and run the backbone.
    near_duplicates : float, default 0
        See `fill`.
    only : mapping of int to collection of int, optional
        Positions that are wanted, by sequence; all of them by default.
    most_images : int, optional
        Network inputs that are kept of a sequence at most.
    cell_width : int, default 0
        Values that the runner gives behind the features of the taps.
    elsewhere : callable, optional
        Computes what the folders of all sequences lack, given them and ``on_frame``; see
        `ros_ood_monitor.training.sequence_shards`. By default it is computed here.
    on_frame : callable
        Told how many frames were dealt with.

    Yields
    ------
    FeatureTable
        One row a frame; usable inside of the block.

    Raises
    ------
    TrainingError
        If there is no frame, a feature is not finite, or the cache cannot be written.
    BagError
        If a bag cannot be read.

    """
    width = sum(tap.channels for tap in taps) + cell_width
    with contextlib.ExitStack() as stack:
        if cache is None:
            with explained(Path(tempfile.gettempdir())):
                folder = tempfile.TemporaryDirectory(prefix='ood_monitor_features.')
            cache = Path(stack.enter_context(folder))
        parts = [
            None if only is None else frozenset(only.get(index, ()))
            for index in range(len(dataset.sequences))
        ]
        places = []
        for index, wanted in enumerate(parts):
            facts = {
                'backbone': backbone_sha256,
                'runner': run.name,
                'input': [preprocess.height, preprocess.width, RESIZE_RULE],
                'near_duplicates': [near_duplicates, _RECENT] if near_duplicates else 0.0,
                'source': dataset.fingerprint(index),
                'only': None if wanted is None else sorted(wanted),
                **({} if most_images == KEPT_IMAGES else {'images': most_images}),
            }
            places.append(cache / cache_key(**facts))
        told = 0
        if elsewhere is not None:

            def tell(frames: int) -> None:
                nonlocal told
                told += frames
                on_frame(frames)

            elsewhere(places, tell)
        shards = []
        for index, (name, place, wanted) in enumerate(
            zip(dataset.sequences, places, parts, strict=True)
        ):
            shard = Shard(place, width, about=name, most_images=most_images)
            stack.callback(shard.close)
            known = min(told, shard.state.position)
            told -= known
            on_frame(shard.state.position - known)
            if not shard.state.complete:
                fill(
                    shard,
                    partial(dataset.items, index, only=wanted),
                    run,
                    preprocess,
                    workers=workers,
                    near_duplicates=near_duplicates,
                    on_frame=on_frame,
                )
                shard.finish(dataset.missing.get(index, []))
            shards.append(shard)
        table = FeatureTable(taps, shards, cell_width=cell_width)
        if not len(table):
            failed = [problem for shard in shards for problem in shard.state.skipped]
            why = f'; first: {failed[0][0]}: {failed[0][1]}' if failed else ''
            msg = f'no frame could be decoded: expected at least one, got none{why}'
            raise TrainingError(msg)
        yield table


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
    seen = _look(frames, shard.last_thumbs(_RECENT), near_duplicates)
    try:
        batches = _batches(seen, run.batch_size)
        for batch, rows in in_order(compute, batches, workers=side_by_side(run, workers)):
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


def _look(
    frames: Iterable[Decoded], taken: npt.NDArray[np.uint8], near_duplicates: float
) -> Iterator[_Seen]:
    """Tell which frames are taken; those that are not give up their pictures."""
    recent = deque(taken, maxlen=_RECENT)
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
        yield _Seen(decoded, thumb, is_taken=True)


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
        _append(shard, decoded, seen.thumb, next(rows))
        return
    if decoded.problem:
        shard.state.skipped.append((decoded.item.name, decoded.problem))
    else:
        shard.state.near_duplicates += 1
    shard.state.position = decoded.item.position + 1


def _append(
    shard: Shard,
    decoded: Decoded,
    thumb: npt.NDArray[np.uint8],
    features: npt.NDArray[np.float32],
) -> None:
    assert decoded.image is not None
    if not np.all(np.isfinite(features)):
        msg = f'features of {decoded.item.name!r} are not finite: check its picture'
        raise TrainingError(msg)
    row = shard.append(
        position=decoded.item.position,
        stamp=decoded.stamp,
        digest=frame_digest(decoded.image),
        size=decoded.size,
        health=measure(decoded.image),
        thumb=thumb,
        features=features,
    )
    if shard.wants_image(row):
        shard.keep_image(row, decoded.image)


def _nearest(thumb: npt.NDArray[np.uint8], recent: Iterable[npt.NDArray[np.uint8]]) -> float:
    """Return the root mean square difference from the most similar one."""
    difference = np.stack(list(recent)).astype(np.float32) - thumb  # (k, 16, 16)
    return float(np.sqrt(np.square(difference).mean(axis=(1, 2)).min()))
