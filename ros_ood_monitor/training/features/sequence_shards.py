"""Features of whole sequences computed by workers, into the cache from which they are taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import contextlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
import socket
from typing import Any, NamedTuple

from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.preprocess import Preprocessor
from ros_ood_monitor.shards import Executor, Lost, run_shards
from ros_ood_monitor.training.features.fill import fill
from ros_ood_monitor.training.features.runners import Runner
from ros_ood_monitor.training.features.shard import Shard
from ros_ood_monitor.training.frames.datasets import Dataset

__all__ = ['SequenceWork', 'fill_elsewhere']


class _Sequence(NamedTuple):
    """A sequence by its place in the dataset, its files here, and where its features go."""

    place: int
    fingerprint: dict[str, Any]
    folder: Path


@dataclass(frozen=True, eq=False)
class SequenceWork:
    """
    Fills shards of features.

    A worker that dies leaves what it checkpointed: the next one goes on there.

    Parameters
    ----------
    dataset : Dataset
        The frames.
    open_runner : callable
        Opens the backbone; a function of a module, or a partial one, for it travels.
    name : str
        Of the runner that is meant: features of another one are others.
    preprocess : Preprocessor
        Resize to its input size.
    width : int
        Values of a frame.
    near_duplicates : float, default 0
        See `fill`.

    """

    dataset: Dataset
    open_runner: Callable[[], Runner]
    name: str
    preprocess: Preprocessor
    width: int
    near_duplicates: float = 0.0

    def open(self) -> Runner:
        """Return the backbone."""
        run = self.open_runner()
        if run.name != self.name:
            msg = (
                f'worker on {socket.gethostname()} would not compute the same features: expected '
                f'{self.name!r}, got {run.name!r}; install the same version on all machines'
            )
            raise TrainingError(msg)
        return run

    def run(self, shard: _Sequence, held: Runner, on_frame: Callable[[], object]) -> None:
        """Fill a shard to its end."""
        index, fingerprint, folder = shard
        name = self.dataset.sequences[index]
        if self.dataset.fingerprint(index) != fingerprint:
            msg = (
                f'worker on {socket.gethostname()} sees other files than are here; give a path '
                f'that means the same on all machines: {name}'
            )
            raise TrainingError(msg)

        def told(frames: int) -> None:
            for _ in range(frames):
                on_frame()

        with contextlib.closing(Shard(folder, self.width, about=name)) as features:
            if features.state.complete:
                return
            fill(
                features,
                partial(self.dataset.items, index),
                held,
                self.preprocess,
                near_duplicates=self.near_duplicates,
                on_frame=told,
            )
            features.finish(self.dataset.missing.get(index, []))


def fill_elsewhere(
    work: SequenceWork,
    executor: Executor,
    folders: Sequence[Path],
    on_frame: Callable[[int], object],
) -> None:
    """
    Have workers compute the features of the sequences that lack some.

    Parameters
    ----------
    work : SequenceWork
        What is done.
    executor : Executor
        By whom.
    folders : sequence of Path
        Where the features of each sequence of the dataset are, in a folder that all workers see.
    on_frame : callable
        Told how many frames were dealt with.

    Raises
    ------
    TrainingError
        If workers died of a sequence again and again, see other files, or write into a folder
        that is not seen here.

    """
    dataset = work.dataset
    left = [
        _Sequence(index, dataset.fingerprint(index), folder)
        for index, folder in enumerate(folders)
        if not _is_complete(folder, work.width)
    ]
    if not left:
        return
    for shard, done in run_shards(work, left, executor, on_frames=on_frame):
        if isinstance(done, Lost):
            msg = f'the process that read it {done.reason}: {dataset.sequences[shard.place]}'
            raise TrainingError(msg)
        if not _is_complete(shard.folder, work.width):
            msg = (
                'features computed by a worker are not seen here; choose a folder that all '
                f'machines share by --cache: {shard.folder}'
            )
            raise TrainingError(msg)


def _is_complete(folder: Path, width: int) -> bool:
    with contextlib.closing(Shard(folder, width)) as shard:
        return shard.state.complete
