"""Shards on Ray: a task each, done again elsewhere where its worker or machine dies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
import contextlib
import logging
import os
from pathlib import Path
import socket
from typing import Any, Final, TypeVar
import uuid

from ros_ood_monitor.errors import OodMonitorError, ParameterError
from ros_ood_monitor.packages import import_problem
from ros_ood_monitor.shards.work import Lost, settle, Work

__all__ = ['connected', 'on_ray']

_TRIES: Final = 3
_LOOK_S: Final = 5.0
_NAMED: Final = 5  # kinds of machines
_STORE_BYTES: Final = 256 * 2**20  # of a cluster on this machine: results are small, and taken

_Shard = TypeVar('_Shard')
_Result = TypeVar('_Result')


@contextlib.contextmanager
def connected(address: str = '', *, cores: int) -> Iterator[Any]:
    """
    Connect to Ray, or start it; where that was done already, nothing is begun and nothing ended.

    No usage statistics are sent. Ray listens on every network interface, behind a token that it
    keeps in the home folder.

    Parameters
    ----------
    address : str, optional
        ``HOST:PORT`` of a cluster's head, or ``auto``; empty starts a cluster on this machine,
        which ends with the block.
    cores : int
        That such a cluster has.

    Yields
    ------
    module
        ``ray``.

    Raises
    ------
    ParameterError
        If Ray cannot be imported, or no cluster answers.

    """
    ray = _load()
    if address:
        _check(address)
    if ray.is_initialized():
        yield ray
        return
    how: dict[str, Any] = {'address': address}
    if not address:
        how = {
            'address': 'local',
            'num_cpus': cores,
            'include_dashboard': False,
            'object_store_memory': _STORE_BYTES,
        }
    try:
        ray.init(**how, log_to_driver=False, configure_logging=False)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        hint = '; one that asks for a token needs it here, and RAY_AUTH_MODE=token' * bool(address)
        msg = f'no Ray to work on ({_one_line(error)}){hint}: {address or "this machine"}'
        raise ParameterError(msg) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _load() -> Any:
    # before Ray is loaded, which reads them once
    os.environ['RAY_USAGE_STATS_ENABLED'] = '0'
    os.environ.setdefault('RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO', '0')  # as Ray's next versions do
    os.environ.setdefault('RAY_task_oom_retries', str(_TRIES - 1))  # without an end by default
    # what it says of dead workers goes to stdout, which is for results; its own logs have it, too
    os.environ.setdefault('RAY_DEDUP_LOGS_SKIP_REGEX', '.*')
    try:
        import ray
    except ImportError as error:
        msg = f'--executor ray needs {import_problem(error)}'
        raise ParameterError(msg) from error
    logging.getLogger('ray').setLevel(logging.ERROR)
    return ray


def _check(address: str) -> None:
    """Refuse an address where nothing listens: Ray itself takes a minute for that."""
    if address == 'auto':
        return
    host, colon, port = address.rpartition(':')
    if '/' in host or not (host and colon and port.isdigit()):
        msg = (
            "address of a Ray cluster: expected HOST:PORT of its head, or 'auto' on one of its "
            f'machines, got {address!r}; run the command on a machine of the cluster'
        )
        raise ParameterError(msg)
    try:
        socket.create_connection((host, int(port)), timeout=_LOOK_S).close()
    except (OSError, OverflowError) as error:
        msg = f'no Ray cluster answers ({getattr(error, "strerror", None) or error}): {address}'
        raise ParameterError(msg) from error


def on_ray(
    work: Work[_Shard, _Result],
    shards: Sequence[_Shard],
    *,
    threads: int = 1,
    gpus: int = 0,
    on_frames: Callable[[int], object] = lambda _: None,
) -> Iterator[tuple[_Shard, _Result | Lost]]:
    """
    Do work on shards, each a task of Ray; see `run_shards`.

    Parameters
    ----------
    work : Work
        What is done.
    shards : sequence
        Each once.
    threads, gpus : int
        Cores and GPUs that a shard takes.
    on_frames : callable
        Told how many more frames are done, a shard at a time.

    Yields
    ------
    tuple of (shard, result or Lost)
        A shard as soon as it is done, and what came of it.

    Raises
    ------
    ParameterError
        If no machine is large enough, or a worker cannot do this work: it lacks this package or
        the folder.

    """
    ray = _load()
    _check_size(ray, threads=threads, gpus=gpus)
    run = ray.remote(num_cpus=threads, num_gpus=gpus, max_retries=_TRIES - 1)(_run)
    name, packed = uuid.uuid4().hex, ray.put(work)
    waiting = {run.remote(name, packed, str(Path.cwd()), one): one for one in shards}
    while waiting:
        for reference in ray.wait(list(waiting), num_returns=1)[0]:
            shard = waiting.pop(reference)
            frames, done = _result(ray, reference)
            on_frames(frames)
            yield shard, done


def _check_size(ray: Any, *, threads: int, gpus: int) -> None:
    """Refuse shards that would wait for ever; a cluster without cores yet may still grow."""
    there = {
        (node['Resources'].get('CPU', 0), node['Resources'].get('GPU', 0))
        for node in ray.nodes()
        if node['Alive']
    }
    has_cores = any(cores for cores, _ in there)
    if not any((cores >= threads or not has_cores) and held >= gpus for cores, held in there):
        kinds = sorted(there, reverse=True)
        got = ', '.join(f'{cores:g} and {held:g}' for cores, held in kinds[:_NAMED]) or 'none'
        got += ', ...' * (len(kinds) > _NAMED)
        msg = (
            f'no machine of the cluster is large enough: expected {threads} cores and {gpus} GPUs '
            f'for a shard, got {got}; choose fewer --threads, or another --engine'
        )
        raise ParameterError(msg)


def _result(ray: Any, reference: Any) -> tuple[int, Any]:
    errors = ray.exceptions
    try:
        return ray.get(reference)  # type: ignore[no-any-return]
    except errors.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, OodMonitorError):
            raise cause from None
        msg = f'a worker failed: {_one_line(cause)}'
        raise ParameterError(msg) from error
    except (errors.WorkerCrashedError, errors.OutOfMemoryError, errors.NodeDiedError) as error:
        why = 'out of memory' if isinstance(error, errors.OutOfMemoryError) else 'out of memory?'
        return 0, Lost(f'died {_TRIES} times ({why})')
    except errors.RayError as error:
        msg = f'Ray failed: {_one_line(error)}'
        raise ParameterError(msg) from error


def _one_line(error: object) -> str:
    return ' '.join(str(error).split())[:300]


class _Worker:
    """What a worker holds between tasks: of the last run only."""

    name = ''
    held: Any = None


def _run(name: str, work: Work[Any, Any], folder: str, shard: Any) -> tuple[int, Any]:
    """Do a task in a worker; return how many frames it had, and what came of it."""
    if _Worker.name != name:
        settle()
        try:
            os.chdir(folder)  # paths mean what they mean where the command was given
        except OSError as error:
            msg = (
                f'worker on {socket.gethostname()} does not see the folder of the command '
                f'({error.strerror}); start it in one that all machines share: {folder}'
            )
            raise ParameterError(msg) from error
        _Worker.name, _Worker.held = '', None
        _Worker.held = work.open()
        _Worker.name = name
    frames = 0

    def count() -> None:
        nonlocal frames
        frames += 1

    done = work.run(shard, _Worker.held, count)
    return frames, done
