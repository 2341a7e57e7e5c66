"""Work over many shards, such as bags: in processes of this machine, or on a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
import os
from typing import TypeVar

from ros_ood_monitor.shards.work import Lost, Work

__all__ = ['Executor', 'Local', 'Lost', 'RayCluster', 'Work', 'run_shards']

_Shard = TypeVar('_Shard')
_Result = TypeVar('_Result')


@dataclass(frozen=True)
class Local:
    """
    Processes of this machine.

    Parameters
    ----------
    jobs : int, default 1
        How many.

    """

    jobs: int = 1

    def session(self) -> AbstractContextManager[object]:
        """Return a block around several calls of `run_shards`; there is nothing to hold open."""
        return nullcontext()


@dataclass(frozen=True)
class RayCluster:
    """
    Workers of Ray, which have to see the same files under the same paths.

    Parameters
    ----------
    address : str, optional
        Of the cluster's head, ``HOST:PORT`` or ``auto``; empty for one on this machine that lives
        as long as it is needed.
    jobs : int, optional
        Workers of a cluster on this machine; 0 for as many as it has cores for.
    threads : int, default 1
        Cores that a shard takes.

    """

    address: str = ''
    jobs: int = 0
    threads: int = 1

    def session(self) -> AbstractContextManager[object]:
        """
        Return a block around several calls of `run_shards`, which then share one start of Ray.

        Raises
        ------
        ParameterError
            On entering, if Ray cannot be imported, or no cluster answers.

        """
        from ros_ood_monitor.shards.on_ray import connected

        jobs = self.jobs or max(1, (os.cpu_count() or 1) // self.threads)
        return connected(self.address, cores=jobs * self.threads)


Executor = Local | RayCluster


def run_shards(
    work: Work[_Shard, _Result],
    shards: Sequence[_Shard],
    executor: Executor,
    *,
    gpus: int = 0,
    on_frames: Callable[[int], object] = lambda _: None,
) -> Iterator[tuple[_Shard, _Result | Lost]]:
    """
    Do work on every shard, several at a time, each in a process that does one after the other.

    The results are those of one process, whatever dies on the way: a shard whose process died is
    done once more, from its beginning, where there are several processes.

    Parameters
    ----------
    work : Work
        What is done; it travels to the processes.
    shards : sequence
        Each once; they travel, too.
    executor : Executor
        Where.
    gpus : int, default 0
        That a shard takes of a Ray cluster.
    on_frames : callable
        Told how many more frames are done.

    Yields
    ------
    tuple of (shard, result or Lost)
        A shard as soon as it is done, and what came of it; `Lost` where processes died of it
        again and again.

    Raises
    ------
    ParameterError
        If Ray cannot be imported, no cluster answers, or a worker does not see the folder.
    OodMonitorError
        What ``work`` raises: it ends the run.

    """
    if isinstance(executor, Local):
        from ros_ood_monitor.shards.processes import in_processes

        yield from in_processes(work, shards, executor.jobs, on_frames)
        return
    from ros_ood_monitor.shards.on_ray import on_ray

    with executor.session():
        yield from on_ray(work, shards, threads=executor.threads, gpus=gpus, on_frames=on_frames)
