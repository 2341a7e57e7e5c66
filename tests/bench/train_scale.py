"""
Measures what training costs beside one plain pass of the backbone over the same frames.

Frames are varied copies of the shipped bag's, written as JPEG files. The plain pass reads,
decodes, resizes and runs them one by one in one thread. Each training is a process of its own:
from nothing, again with its cache, and killed half way and started again. Figures are ratios of
one run.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
import resource
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any

import cv2
import numpy as np

from ros_ood_monitor.bags import BagReader
from ros_ood_monitor.engines.ort_engine import open_session
from ros_ood_monitor.evaluation.speed.machine import context
from ros_ood_monitor.images import image_files, read_image
from ros_ood_monitor.preprocess import Preprocessor

_BAG = Path(__file__).resolve().parents[1] / 'bags' / 'lunar_orbit' / 'bag'
_SEQUENCE = 250


def main() -> int:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--frames', type=int, nargs='+', default=[1000, 10000])
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--workers', type=int, default=0)
    args = parser.parse_args()
    results: dict[str, Any] = {'machine': context(), 'workers': args.workers, 'runs': []}
    for frames in args.frames:
        with tempfile.TemporaryDirectory(prefix='train_scale.') as folder:
            results['runs'].append(_measure(Path(folder), frames, args.workers))
        args.out.write_text(json.dumps(results, indent=1) + '\n', encoding='utf-8')
        print(json.dumps(results['runs'][-1], indent=1))
    return 0


def _measure(folder: Path, frames: int, workers: int) -> dict[str, Any]:
    data = folder / 'data'
    _write_frames(data, frames)
    first = _train(folder, data, 'first', 'cache', workers)
    plain = _plain_pass(folder / 'first', data)
    again = _train(folder, data, 'again', 'cache', workers)
    half_way = first['timings_s']['backbone'] + 5.0 + 0.5 * first['extraction_s']
    half = _train(folder, data, 'half', 'other', workers, kill_after=half_way)
    rest = _train(folder, data, 'half', 'other', workers)
    same = first['digest'] == again['digest'] == rest['digest']
    return {
        'frames': frames,
        'plain_pass_s': round(plain, 1),
        'training': first,
        'training_over_plain_pass': round(first['to_bundle_s'] / plain, 3),
        'again_with_cache': again,
        'again_over_first': round(again['wall_s'] / first['wall_s'], 3),
        'killed_after_s': half['wall_s'],
        'resumed': rest,
        'killed_and_resumed_over_first': round(
            (half['wall_s'] + rest['wall_s']) / first['wall_s'], 3
        ),
        'same_digest': same,
    }


def _write_frames(data: Path, count: int) -> None:
    with BagReader(_BAG) as reader:
        originals = [frame.rgb for frame in reader.frames(every=4)]
    rng = np.random.default_rng(0)
    for k in range(count):
        folder = data / f'{k // _SEQUENCE:03d}'
        folder.mkdir(parents=True, exist_ok=True)
        picture = originals[k % len(originals)]
        height, width = picture.shape[:2]
        shift = np.float32([[1, 0, rng.uniform(-20, 20)], [0, 1, rng.uniform(-20, 20)]])
        moved = cv2.warpAffine(picture, shift, (width, height), borderMode=cv2.BORDER_REFLECT)
        varied = np.clip(moved * rng.uniform(0.8, 1.2), 0, 255).astype(np.uint8)
        name = str(folder / f'{k:06d}.jpg')
        cv2.imwrite(name, cv2.cvtColor(varied, cv2.COLOR_RGB2BGR))


def _plain_pass(bundle: Path, data: Path) -> float:
    cv2.setNumThreads(1)
    session = open_session((bundle / 'backbone.fp32.onnx').read_bytes())
    preprocess = Preprocessor(224, 224)
    start = time.perf_counter()
    for file in image_files(data):
        session.run(None, {'image': preprocess(read_image(file))})
    return time.perf_counter() - start


def _train(
    folder: Path,
    data: Path,
    name: str,
    cache: str,
    workers: int,
    *,
    kill_after: float | None = None,
) -> dict[str, Any]:
    command = [sys.executable, '-m', 'ros_ood_monitor.cli.main', 'train', '--data', str(data)]
    command += ['--out', str(folder / name), '--cache', str(folder / cache), '--quiet']
    command += ['--workers', str(workers)]
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            process.communicate(timeout=kill_after)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
    facts: dict[str, Any] = {'wall_s': round(time.perf_counter() - start, 1)}
    if kill_after is None:
        if process.returncode:
            sys.exit(f'training failed: {" ".join(command)}')
        report = json.loads((folder / name / 'report' / 'report.json').read_text())
        timings = {row['name']: round(row['seconds'], 1) for row in report['timings']}
        facts |= {'timings_s': timings, 'digest': report['digest'][:12]}
        facts['extraction_s'] = timings['extraction']
        facts['to_bundle_s'] = facts['wall_s']
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        facts['peak_mib_so_far'] = round(peak)
    return facts


if __name__ == '__main__':
    sys.exit(main())
