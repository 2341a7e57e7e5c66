"""
Features of every frame, computed by the exported backbone in the runtime that the robot uses.

Features go to disk as they come, so memory does not grow with the number of frames, and frames
that were read before are not read again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
import contextlib
from functools import partial
from pathlib import Path
import tempfile

from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.preprocess import Preprocessor, RESIZE_RULE
from ros_ood_monitor.training.backbones import BackboneTap
from ros_ood_monitor.training.features.cache import cache_key, explained
from ros_ood_monitor.training.features.fill import fill, RECENT
from ros_ood_monitor.training.features.runners import Runner
from ros_ood_monitor.training.features.shard import KEPT_IMAGES, Shard
from ros_ood_monitor.training.features.table import FeatureTable
from ros_ood_monitor.training.frames.datasets import Dataset

__all__ = ['extract']


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
        `ros_ood_monitor.training.features.sequence_shards`. By default it is computed here.
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
                'near_duplicates': [near_duplicates, RECENT] if near_duplicates else 0.0,
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
