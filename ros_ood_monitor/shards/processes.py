"""Shards in processes of this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
import multiprocessing
import signal
from typing import Any, Final, TypeVar

from ros_ood_monitor.shards.work import Lost, settle, Work

__all__ = ['in_processes']

_POLL_S: Final = 0.2
_CONTEXT: Final = multiprocessing.get_context('spawn')

_Shard = TypeVar('_Shard')
_Result = TypeVar('_Result')


def in_processes(
    work: Work[_Shard, _Result],
    shards: Sequence[_Shard],
    jobs: int,
    on_frames: Callable[[int], object],
) -> Iterator[tuple[_Shard, _Result | Lost]]:
    """
    Do work on shards, one a process; see `run_shards`.

    The calling script needs a guarded main module, because processes are spawned.

    Parameters
    ----------
    work : Work
        What is done.
    shards : sequence
        Each once.
    jobs : int
        Processes.
    on_frames : callable
        Told how many more frames are done.

    Yields
    ------
    tuple of (shard, result or Lost)
        A shard as soon as it is done, and what came of it.

    """
    left = dict(enumerate(shards))
    frames = _Frames(len(shards), on_frames)
    # a process that dies takes the pool with it; from then on each shard is tried by itself
    while left:
        for place, done in _until_one_dies(work, left.copy(), jobs, frames):
            yield left.pop(place), done
        if left and jobs == 1:
            yield left.pop(min(left)), Lost('died (out of memory?)')
        jobs = 1


class _Frames:
    """Tells how many frames are done, shards that are done again but once."""

    def __init__(self, shards: int, tell: Callable[[int], object]) -> None:
        self.done = _CONTEXT.RawArray('q', shards)  # each place is counted by one process at once
        self._tell = tell
        self._told = 0

    def tell(self) -> None:
        more = sum(self.done) - self._told
        if more > 0:
            self._told += more
            self._tell(more)


def _until_one_dies(
    work: Work[_Shard, _Result], shards: Mapping[int, _Shard], jobs: int, frames: _Frames
) -> Iterator[tuple[int, _Result]]:
    """Yield what is done before a process dies; the shards in order where there is one."""
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(
        min(jobs, len(shards)), _CONTEXT, initializer=_begin, initargs=(work, frames.done)
    )
    try:
        waiting = {pool.submit(_run, place, shard): place for place, shard in shards.items()}
        while waiting:
            ended, _ = wait(waiting, _POLL_S, return_when='FIRST_COMPLETED')
            frames.tell()
            for future in sorted(ended, key=waiting.__getitem__):
                place = waiting.pop(future)
                if _is_broken(future):
                    return
                yield place, future.result()
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
    """What a process holds between shards."""

    work: Work[Any, Any]
    held: Any
    is_open = False
    frames: Any


def _begin(work: Work[Any, Any], frames: Any) -> None:
    # Ctrl-C reaches the whole group; the parent says what there is to say
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    settle()
    _Process.work, _Process.frames = work, frames


def _run(place: int, shard: Any) -> Any:
    if not _Process.is_open:  # an error here is the work's own; in the beginning it were a death
        _Process.held = _Process.work.open()
        _Process.is_open = True

    _Process.frames[place] = 0

    def count() -> None:
        _Process.frames[place] += 1

    return _Process.work.run(shard, _Process.held, count)
