"""Bags through the monitor one after the other, or several at a time, each a shard of work."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
import socket
from typing import Final, NamedTuple

from ros_ood_monitor import __version__
from ros_ood_monitor.bags.files import find_files
from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.engines import Engine, open_engine
from ros_ood_monitor.errors import BagError, EngineError, OodMonitorError, ParameterError
from ros_ood_monitor.evaluation.bags.scored import ScoredBag
from ros_ood_monitor.evaluation.bags.scoring import score_bag
from ros_ood_monitor.shards import Executor, Local, Lost, run_shards

__all__ = ['Scoring', 'score_bags']

_REFUSALS: Final = (BagError, ParameterError)
"""What a bag may be guilty of; anything else ends the run."""


@dataclass(frozen=True)
class Scoring:
    """
    How bags are scored; travels to workers.

    Parameters
    ----------
    bundle : Path
        What was trained.
    engine : str
        Inference library; see `open_engine`.
    precision : str or None
        One of the bundle's.
    threads : int
        CPU threads of each engine.
    topics : tuple of str or None
        Image topics; None for all of each bag.
    every : int
        Every n-th frame only.

    """

    bundle: Path
    engine: str = 'auto'
    precision: str | None = None
    threads: int = 1
    topics: tuple[str, ...] | None = None
    every: int = 1

    def open(self) -> tuple[Bundle, Engine]:
        """Load the bundle and open its engine."""
        bundle = Bundle.load(self.bundle)
        return bundle, open_engine(
            bundle, self.engine, precision=self.precision, threads=self.threads
        )

    def run(
        self,
        bag: Path,
        bundle: Bundle,
        engine: Engine,
        *,
        workers: int,
        on_frame: Callable[[], object],
    ) -> ScoredBag | BagError:
        """Return the scores of a bag, or what is wrong with it."""
        topics = None if self.topics is None else list(self.topics)
        try:
            return score_bag(
                bag,
                bundle,
                engine,
                topics=topics,
                every=self.every,
                workers=workers,
                on_frame=on_frame,
            )
        except _REFUSALS as error:
            return BagError(str(error))
        except OodMonitorError:
            raise
        except OSError as error:
            return BagError(f'bag could not be read ({error.strerror or error}): {bag}')


def score_bags(
    bags: Sequence[Path],
    scoring: Scoring,
    opened: tuple[Bundle, Engine],
    *,
    executor: Executor | None = None,
    on_frames: Callable[[int], object] = lambda _: None,
) -> Iterator[tuple[Path, ScoredBag | BagError]]:
    """
    Score bags.

    Parameters
    ----------
    bags : sequence of Path
        Each once.
    scoring : Scoring
        How.
    opened : (Bundle, Engine)
        What ``scoring.open`` gave: what workers have to open, too. It is used itself where there
        is one local job only: frames are then scored here, and a thread decodes and resizes ahead.
    executor : Executor, optional
        Where.
    on_frames : callable
        Told how many more frames are scored.

    Yields
    ------
    tuple of (Path, ScoredBag or BagError)
        A bag as soon as it is done, and its scores or what is wrong with it.

    Raises
    ------
    EngineError
        If the engine fails, or a worker's bundle or engine is not the one that is open here.
    ParameterError
        If there is no Ray to work on.

    """
    executor = executor or Local()
    is_local = isinstance(executor, Local)
    if not bags or (is_local and (executor.jobs == 1 or len(bags) < 2)):
        for bag in bags:
            done = scoring.run(bag, *opened, workers=1, on_frame=lambda: on_frames(1))
            yield bag, done
        return
    shards = [_Shard(bag, None if is_local else _files(bag)) for bag in bags]
    work = _BagWork(scoring, _identity(*opened))
    gpus = 0 if opened[1].describe()['device'].startswith('cpu') else 1
    for shard, result in run_shards(work, shards, executor, gpus=gpus, on_frames=on_frames):
        if isinstance(result, Lost):
            yield shard.bag, BagError(f'the process that scored it {result.reason}: {shard.bag}')
        else:
            yield shard.bag, result


class _Shard(NamedTuple):
    """A bag, and the names and sizes of its files where other machines may see others."""

    bag: Path
    files: tuple[tuple[str, int], ...] | None


@dataclass(frozen=True)
class _BagWork:
    """Scores bags in a worker, if what it has there is what is here."""

    scoring: Scoring
    identity: dict[str, str]

    def open(self) -> tuple[Bundle, Engine]:
        opened = self.scoring.open()
        found = _identity(*opened)
        different = [name for name in self.identity if found.get(name) != self.identity[name]]
        if different:
            name = different[0]
            msg = (
                f'worker on {socket.gethostname()} would not give the same scores: expected '
                f'{name} {self.identity[name]!r}, got {found.get(name)!r}; make both alike, or '
                f'name an --engine that both have: {self.scoring.bundle}'
            )
            raise EngineError(msg)
        return opened

    def run(
        self, shard: _Shard, held: tuple[Bundle, Engine], on_frame: Callable[[], object]
    ) -> ScoredBag | BagError:
        if shard.files is not None and (found := _files(shard.bag)) != shard.files:
            return BagError(
                f'worker on {socket.gethostname()} sees other files than are here: expected '
                f'{_told(shard.files)}, got {_told(found)}; give a path that means the same on '
                f'all machines: {shard.bag}'
            )
        return self.scoring.run(shard.bag, *held, workers=0, on_frame=on_frame)


def _identity(bundle: Bundle, engine: Engine) -> dict[str, str]:
    """Return what scores depend on, besides frames."""
    facts = {name: value for name, value in engine.describe().items() if name != 'chosen'}
    return {'ros_ood_monitor': __version__, 'digest': bundle.digest, **facts}


def _files(bag: Path) -> tuple[tuple[str, int], ...]:
    """Return names and sizes of a bag's files; nothing where they are out of reach."""
    try:
        return tuple((file.name, file.stat().st_size) for file in find_files(bag)[0])
    except OSError:  # a BagError is one, too: scoring says what is wrong
        return ()


def _told(files: tuple[tuple[str, int], ...]) -> str:
    return f'{len(files)} of {sum(size for _, size in files)} bytes'
