"""Bags through the monitor one after the other, or several at a time in processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
import logging
import multiprocessing
from pathlib import Path
import signal
from typing import Any, Final

import cv2

from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.engines import Engine, open_engine
from ros_ood_monitor.errors import BagError, OodMonitorError, ParameterError
from ros_ood_monitor.evaluation.bags.scored import score_bag, ScoredBag

__all__ = ['Scoring', 'score_bags']

_POLL_S: Final = 0.2
_REFUSALS: Final = (BagError, ParameterError)
"""What a bag may be guilty of; anything else ends the run."""


@dataclass(frozen=True)
class Scoring:
    """
    How bags are scored; travels to processes.

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
    jobs: int = 1,
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
        What ``scoring.open`` gave; used where there is one job only.
    jobs : int, default 1
        Processes. With one, the frames are scored here and a thread decodes ahead.
    on_frames : callable
        Told how many more frames are scored.

    Yields
    ------
    tuple of (Path, ScoredBag or BagError)
        A bag as soon as it is done, and its scores or what is wrong with it.

    Raises
    ------
    EngineError
        If the engine fails.

    """
    if jobs == 1 or len(bags) < 2:
        for bag in bags:
            done = scoring.run(bag, *opened, workers=1, on_frame=lambda: on_frames(1))
            yield bag, done
        return
    left = list(bags)
    # a process that dies takes the pool with it; from then on each bag is tried by itself
    while left:
        for bag, done in _in_processes(left, scoring, jobs, on_frames):
            left.remove(bag)
            yield bag, done
        if left and jobs == 1:
            dead = left.pop(0)
            yield dead, BagError(f'the process that scored it died (out of memory?): {dead}')
        jobs = 1


def _in_processes(
    bags: Sequence[Path], scoring: Scoring, jobs: int, on_frames: Callable[[int], object]
) -> Iterator[tuple[Path, ScoredBag | BagError]]:
    """Yield what is done before a process dies; the bags in order where there is one."""
    context = multiprocessing.get_context('spawn')
    counter = context.Value('q', 0)
    told = 0
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(
        min(jobs, len(bags)), context, initializer=_begin, initargs=(scoring, counter)
    )
    try:
        waiting = {pool.submit(_score, bag): bag for bag in bags}
        while waiting:
            ended, _ = wait(waiting, _POLL_S, return_when='FIRST_COMPLETED')
            on_frames(counter.value - told)
            told = counter.value
            for future in sorted(ended, key=lambda one: bags.index(waiting[one])):
                bag = waiting.pop(future)
                if _is_broken(future):
                    return
                yield bag, future.result()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        raise
    finally:
        pool.shutdown()


def _is_broken(future: Future[Any]) -> bool:
    return isinstance(future.exception(), BrokenProcessPool)


class _Process:
    """What a process holds between bags."""

    scoring: Scoring
    opened: tuple[Bundle, Engine]
    counter: Any


def _begin(scoring: Scoring, counter: Any) -> None:
    # Ctrl-C reaches the whole group; the parent says what there is to say
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # what is to be told of bags is in their results
    logging.getLogger('ros_ood_monitor').setLevel(logging.ERROR)
    cv2.setNumThreads(1)
    _Process.scoring, _Process.counter = scoring, counter
    _Process.opened = scoring.open()


def _score(bag: Path) -> ScoredBag | BagError:
    def count() -> None:
        with _Process.counter.get_lock():
            _Process.counter.value += 1

    return _Process.scoring.run(bag, *_Process.opened, workers=0, on_frame=count)
