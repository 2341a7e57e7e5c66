"""
What a process of its own takes: modules and time of an import, memory of a monitor.

Each figure comes from a new interpreter, since this one has loaded and allocated already.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
import subprocess
import sys
import time
from typing import Any

import numpy as np

from ros_ood_monitor.errors import EngineError

__all__ = ['UNWANTED', 'import_facts', 'monitor_process']

UNWANTED = ('torch', 'rclpy', 'matplotlib')
"""Modules that neither the package's import nor ``--help`` may load."""

_HEAVY = (
    *UNWANTED,
    'nflows',
    'timm',
    'scipy',
    'pyvista',
    'onnxruntime',
    'cv2',
    'numpy',
)

# argv: the heavy modules as JSON, then the probe's own arguments
_IMPORT = """
import contextlib, io, json, sys, time
heavy, statement = set(json.loads(sys.argv[1])), sys.argv[2]
known = set(sys.modules)
start = time.perf_counter()
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    exec(statement)
ms = (time.perf_counter() - start) * 1e3
loaded = set(sys.modules) - known
print(json.dumps({'ms': ms, 'modules': len(loaded), 'heavy': sorted(loaded & heavy)}))
"""

_STATEMENTS = {
    'import ros_ood_monitor': 'import ros_ood_monitor',
    'ood_monitor --help': "from ros_ood_monitor.cli.main import main; main(['--help'])",
}

# VmHWM and not ru_maxrss: the latter starts from the parent's peak where the child was forked
_MONITOR = """
import json, re, sys, time
def memory(key):
    with open('/proc/self/status') as status:
        return int(re.search(key + r':\\s+(\\d+) kB', status.read())[1]) / 1024
def free_gpu():
    if not on_gpu:
        return None
    from ros_ood_monitor.engines.cuda import call, cudart
    runtime = cudart()
    call(runtime.cudaSetDevice, wanted['device'], doing='choosing the GPU')
    return call(runtime.cudaMemGetInfo, doing='asking for its memory')[0] / 2**20
found = {'interpreter_mib': memory('VmRSS')}
from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.monitor import Monitor
import numpy as np
heavy, path, wanted = set(json.loads(sys.argv[1])), sys.argv[2], json.loads(sys.argv[3])
frames, on_gpu = int(sys.argv[4]), json.loads(sys.argv[5])
before = free_gpu()
began = time.perf_counter()
monitor = Monitor.from_bundle(Bundle.load(path), **wanted)
monitor.warm_up()
assert monitor.verify().ok
found['ready_s'] = time.perf_counter() - began
found['ready_mib'] = memory('VmRSS')
rng = np.random.default_rng(0)
for k in range(frames):
    rgb = rng.integers(0, 256, (480, 640, 3), dtype=np.uint8)
    monitor.observe_image(rgb, stamp=k / 30)
after = free_gpu()
found['gpu_mib'] = None if before is None else before - after
found |= {'end_mib': memory('VmRSS'), 'peak_mib': memory('VmHWM'), 'frames': frames}
print(json.dumps(found | {'heavy': sorted(heavy & set(sys.modules))}))
"""


def import_facts(repeats: int) -> dict[str, dict[str, Any]]:
    """
    Measure what the package's import and ``ood_monitor --help`` load.

    Parameters
    ----------
    repeats : int
        New interpreters for each, at least 1.

    Returns
    -------
    dict of str to dict
        For each of the two: ``modules`` loaded beyond the bare interpreter's, the ``heavy`` ones
        among them, ``ms_median`` and ``ms_min`` of loading, and ``process_ms_median`` of the
        whole process.

    """
    found = {}
    for name, statement in _STATEMENTS.items():
        runs = [_run(_IMPORT, statement) for _ in range(repeats)]
        found[name] = {
            'modules': runs[0]['modules'],
            'heavy': runs[0]['heavy'],
            'ms_median': float(np.median([run['ms'] for run in runs])),
            'ms_min': float(min(run['ms'] for run in runs)),
            'process_ms_median': float(np.median([run['process_ms'] for run in runs])),
        }
    return found


def monitor_process(
    bundle: Path,
    precision: str,
    *,
    engine: str,
    frames: int,
    device: int = 0,
    cache: Path | None = None,
    on_gpu: bool = False,
) -> dict[str, Any]:
    """
    Measure start-up and resident memory of a process that monitors 640x480 frames.

    Parameters
    ----------
    bundle : Path
        Folder or .zip of the bundle.
    precision : str
        One of its precisions.
    engine : str
        What runs it.
    frames : int
        Frames to observe.
    device, cache
        GPU and folder of built engines; see `ros_ood_monitor.engines.open_engine`.
    on_gpu : bool, default False
        Whether it runs on a GPU whose memory is asked for, which takes ``cuda-bindings``.

    Returns
    -------
    dict
        ``interpreter_mib`` before any import, ``ready_mib`` after the goldens, ``end_mib`` after
        the frames, ``peak_mib``, all in MiB; ``ready_s``, from loading the bundle to the proof on
        the goldens; ``frames``; the ``heavy`` modules loaded; ``gpu_mib``, how much less memory is
        free on the GPU after the frames than in a process that has only begun to use it, whoever
        took it, or None without a GPU.

    """
    wanted = {
        'engine': engine,
        'precision': precision,
        'device': device,
        'cache': None if cache is None else str(cache),
    }
    found = _run(_MONITOR, str(bundle), json.dumps(wanted), str(frames), json.dumps(on_gpu))
    del found['process_ms']
    return found


def _run(code: str, *arguments: str) -> dict[str, Any]:
    """Run code in a new interpreter that sees this package, and read the JSON it prints."""
    root = str(Path(__file__).resolve().parents[2])
    search = [root, *filter(None, [os.environ.get('PYTHONPATH')])]
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, '-c', code, json.dumps(_HEAVY), *arguments],
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(search)},
        capture_output=True,
        text=True,
        check=False,
    )
    process_ms = (time.perf_counter() - start) * 1e3
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ['no message'])[-1]
        msg = (
            f'measurement in a process of its own failed with exit code {done.returncode}: {last}'
        )
        raise EngineError(msg)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {**found, 'process_ms': process_ms}
