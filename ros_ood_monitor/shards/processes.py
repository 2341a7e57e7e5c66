"""Shards in processes of this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
import multiprocessing
import signal
from typing import Any, Final, TypeVar

from ros_ood_monitor.shards.work import Lost, settle, Work

__all__ = ['in_processes']

_POLL_S: Final = 0.2

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
    left = list(shards)
    # a process that dies takes the pool with it; from then on each shard is tried by itself
    while left:
        for shard, done in _until_one_dies(work, tuple(left), jobs, on_frames):
            left.remove(shard)
            yield shard, done
        if left and jobs == 1:
            yield left.pop(0), Lost('died (out of memory?)')
        jobs = 1


def _until_one_dies(
    work: Work[_Shard, _Result],
    shards: Sequence[_Shard],
    jobs: int,
    on_frames: Callable[[int], object],
) -> Iterator[tuple[_Shard, _Result]]:
    """Yield what is done before a process dies; the shards in order where there is one."""
    context = multiprocessing.get_context('spawn')
    counter = context.Value('q', 0)
    told = 0
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(
        min(jobs, len(shards)), context, initializer=_begin, initargs=(work, counter)
    )
    try:
        waiting = {pool.submit(_run, shard): k for k, shard in enumerate(shards)}
        while waiting:
            ended, _ = wait(waiting, _POLL_S, return_when='FIRST_COMPLETED')
            on_frames(counter.value - told)
            told = counter.value
            for future in sorted(ended, key=waiting.__getitem__):
                place = waiting.pop(future)
                if _is_broken(future):
                    return
                yield shards[place], future.result()
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
    counter: Any


def _begin(work: Work[Any, Any], counter: Any) -> None:
    # Ctrl-C reaches the whole group; the parent says what there is to say
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    settle()
    _Process.work, _Process.counter = work, counter


def _run(shard: Any) -> Any:
    if not _Process.is_open:  # an error here is the work's own; in the beginning it were a death
        _Process.held = _Process.work.open()
        _Process.is_open = True

    def count() -> None:
        with _Process.counter.get_lock():
            _Process.counter.value += 1

    return _Process.work.run(shard, _Process.held, count)
