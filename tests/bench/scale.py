"""
Time what a frame of a bag costs, stage by stage, and what workers cost.

Usage::

    python -m tests.bench.scale --json tests/bench/results/cpu_ort_fp32_scale.json

Processor time, which a busy machine leaves comparable, of one thread, the least and the median of
rounds: reading a frame's bytes, decoding them, the monitor around its engine (resize, digest,
input health, alert), the engine. ``workers`` measures, of local processes and, where Ray is
installed, of Ray: how long until the first empty shard is done, what a further one costs, and the
memory of a process that scores. The pictures are the shipped bag's with noise of a camera on top.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
import importlib.util
import json
import os
from pathlib import Path
import tempfile
import time
from typing import Any

import cv2
import numpy as np

from ros_ood_monitor.bags import BagReader, BagWriter
from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.engines import Engine
from ros_ood_monitor.evaluation.bags.runs import Scoring
from ros_ood_monitor.evaluation.bags.scoring import score_bag
from ros_ood_monitor.evaluation.speed.machine import context
from ros_ood_monitor.evaluation.tables import write_text
from ros_ood_monitor.preprocess import Preprocessor
from ros_ood_monitor.shards import Executor, Local, RayCluster, run_shards
from ros_ood_monitor.share import bundle_path
from tests.bench.replay_speed import frames

SIZES = [(240, 320), (480, 640), (1080, 1920)]
NOISE = 4.0  # standard deviation, in grey levels
SHARDS = 40


def write(path: Path, size: tuple[int, int], count: int, *, raw: bool) -> Path:
    """Write a bag of frames, as JPEG or as they are."""
    rng = np.random.default_rng(0)
    with BagWriter(path) as writer:
        for frame in frames(*size, count):
            noise = rng.normal(0.0, NOISE, frame.rgb.shape)
            rgb = np.clip(frame.rgb + noise, 0, 255).astype(np.uint8)
            if raw:
                writer.write_image('/camera/image', rgb, frame.stamp)
            else:
                writer.write_jpeg('/camera/image/compressed', rgb, frame.stamp)
    return path


def stages(opened: tuple[Bundle, Engine], bag: Path, count: int, rounds: int) -> dict[str, Any]:
    """Return processor time by stage, in ms a frame, and bytes a frame."""
    bundle, engine = opened
    manifest = bundle.manifest
    preprocess = Preprocessor(manifest.input_height, manifest.input_width)
    size = sum(file.stat().st_size for file in bag.glob('*.mcap'))

    def read() -> int:
        with BagReader(bag) as reader:
            return sum(len(pending.data) for pending in reader.pending())

    with BagReader(bag) as reader:
        batches = [preprocess(frame.rgb) for frame in reader.frames()]

    def decode() -> None:
        with BagReader(bag) as reader:
            for _ in reader.frames():
                pass

    calls: dict[str, Callable[[], object]] = {
        'read': read,
        'read and decode': decode,
        'engine': lambda: [engine.infer(batch) for batch in batches],
        'all': lambda: score_bag(bag, bundle, engine),
    }
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name, call in calls.items():
            start = time.process_time()
            call()
            if turn:  # the first round warms up
                taken[name].append(1e3 * (time.process_time() - start) / count)
    found: dict[str, Any] = {'bytes': size / count}
    for how, reduce in (('least_ms', np.min), ('median_ms', np.median)):
        ms = {name: float(reduce(values)) for name, values in taken.items()}
        found[how] = {
            'read': ms['read'],
            'decode': ms['read and decode'] - ms['read'],
            'monitor': ms['all'] - ms['read and decode'] - ms['engine'],
            'engine': ms['engine'],
            'all': ms['all'],
        }
    return found


@dataclass(frozen=True)
class Scored:
    """Work of which a worker's memory is known."""

    scoring: Scoring

    def open(self) -> Any:
        """Return bundle and engine."""
        return self.scoring.open()

    def run(self, bag: Path | None, held: Any, on_frame: Callable[[], object]) -> float:
        """Score a bag, if there is one; return the most memory that the process ever had, MB."""
        if bag is not None:
            self.scoring.run(bag, *held, workers=0, on_frame=on_frame)
        status = Path(f'/proc/{os.getpid()}/status').read_text(encoding='utf-8')
        peak = next(line for line in status.splitlines() if line.startswith('VmHWM'))
        return int(peak.split()[1]) * 1024 / 1e6


def workers(scoring: Scoring, bag: Path) -> dict[str, Any]:
    """Return what two workers of each executor cost."""
    executors: dict[str, Executor] = {'local': Local(2)}
    if importlib.util.find_spec('ray'):
        executors['ray'] = RayCluster(jobs=2)
    found = {}
    for name, executor in executors.items():
        start = time.perf_counter()
        times, peak = [], 0.0
        # a shard with a bag last, so that the empty ones cost what an executor adds
        for _, megabytes in run_shards(Scored(scoring), [*[None] * SHARDS, bag], executor):
            times.append(time.perf_counter() - start)
            peak = max(peak, megabytes)
        found[name] = {
            'first_s': times[0],
            'further_ms': 1e3 * (times[SHARDS - 1] - times[0]) / (SHARDS - 1),
            'worker_mb': peak,
        }
    return found


def main() -> None:
    """Measure, print, and write the file asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--frames', type=int, default=100)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--json', type=Path)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    scoring = Scoring(bundle_path('lunar_orbit'))
    opened = scoring.open()
    facts: dict[str, Any] = {'context': context(), 'noise': NOISE, 'frames': {}}
    with tempfile.TemporaryDirectory() as name:
        for size in SIZES:
            for raw in (False, True):
                label = f'{size[1]}x{size[0]} {"rgb8" if raw else "JPEG"}'
                count = args.frames // 4 if raw and size == SIZES[-1] else args.frames
                bag = write(Path(name, label.replace(' ', '_')), size, count, raw=raw)
                facts['frames'][label] = stages(opened, bag, count, args.rounds)
                print(label, json.dumps(facts['frames'][label]), flush=True)
        facts['workers'] = workers(scoring, Path(name, '640x480_JPEG'))
    print(json.dumps(facts['workers']))
    facts['context']['load_average_after'] = list(context()['load_average'])
    if args.json:
        write_text(args.json, json.dumps(facts, indent=1, allow_nan=False) + '\n')


if __name__ == '__main__':
    main()
