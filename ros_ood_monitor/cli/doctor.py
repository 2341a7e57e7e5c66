"""``ood_monitor doctor``: what runs on this machine, and what is missing."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
from pathlib import Path
import platform
import sys
from typing import Any

__all__ = ['add_parser', 'run']

# what needs it -> (importable module, distribution, the command that mends its absence)
_PARTS = (
    ('core', 'numpy', 'numpy', 'pip install . in the clone'),
    ('core', 'cv2', 'opencv-python', 'pip install opencv-python; apt install libgl1'),
    ('core', 'yaml', 'PyYAML', 'pip install PyYAML'),
    ('engine onnxruntime', 'onnxruntime', 'onnxruntime', 'pip install onnxruntime'),
    ('bags, replay', 'rosbags', 'rosbags', "pip install '.[bags]' in the clone"),
    ('tables', 'pyarrow', 'pyarrow', "pip install '.[bags]' in the clone"),
    ('plots', 'matplotlib', 'matplotlib', "pip install '.[bags]' in the clone"),
    ('node', 'rclpy', 'ros-rclpy', "apt's ROS 2, or pip install '.[ros]' in the clone"),
    ('node', 'diagnostic_msgs', '', "apt's ROS 2, or pip install '.[ros]' in the clone"),
    (
        'launch files',
        'launch_ros',
        '',
        "apt's ros-$ROS_DISTRO-launch-ros; without it: ood_monitor_node",
    ),
    ('trainer', 'torch', 'torch', "pip install '.[train]' in the clone"),
    ('trainer', 'nflows', 'nflows', "pip install '.[train]' in the clone"),
    ('trainer', 'timm', 'timm', "pip install '.[train]' in the clone"),
    ('lunar scenes', 'pyvista', 'pyvista', "pip install '.[lunar]' in the clone"),
)
_NEEDED = {'core', 'engine onnxruntime'}


def add_parser(subparsers: Any) -> None:
    """Register the verb."""
    parser = subparsers.add_parser('doctor', help='what runs on this machine', description=__doc__)
    parser.add_argument('bundle', nargs='?', help='a bundle to open and verify as well')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the findings; 1 where the online side cannot run."""
    print(f'python      {platform.python_version()} at {sys.executable}')
    print(f'system      {platform.platform()}, {os.cpu_count()} CPUs, {_memory()}')
    print(
        f'ROS         distro {os.environ.get("ROS_DISTRO", "not set")}, '
        f'domain {os.environ.get("ROS_DOMAIN_ID", "0")}, '
        f'rmw {os.environ.get("RMW_IMPLEMENTATION", "default")}'
    )
    code = 0
    for purpose, module, distribution, cure in _PARTS:
        found = importlib.util.find_spec(module) is not None
        version = _version(distribution) if found else ''
        status = f'ok {version}'.strip() if found else f'missing; {cure}'
        print(f'{purpose:<19} {module:<16} {status}')
        if not found and purpose in _NEEDED:
            code = 1
    if args.bundle and code == 0:
        code = _check_bundle(args.bundle)
    return code


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
