"""
Time evaluating a bag against the bare engine on frames that are decoded and resized already.

Usage::

    python -m tests.bench.replay_speed --json tests/bench/results/cpu_ort_fp32_replay_speed.json

Every contender goes through the same bag in every round, and ratios are taken inside of a round:
``bare`` is `Engine.infer` alone, ``one thread`` reads, decodes, resizes and scores in turn,
``ahead`` decodes and resizes in a second thread as `ood_monitor evaluate` does, ``decoded ahead``
resizes in the first one; what either gains depends on a core that is free.
Wall clock is what a user waits for; processor time is what a busy machine leaves comparable, and
the best of the rounds is nearest to an idle one. Two bags in one process (with its second thread)
and in two (without), start-up included. The memory of a process that scores a bag of 20 minutes is
measured once.
``--parts`` measures some anew and leaves the others of the file as they are.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
import subprocess
import sys
import tempfile
import time
from typing import Any

import cv2
import numpy as np

from ros_ood_monitor.bags import BagReader, BagWriter
from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.camera_names import camera_names
from ros_ood_monitor.engines import Engine
from ros_ood_monitor.evaluation.bags.runs import score_bags, Scoring
from ros_ood_monitor.evaluation.bags.scored import ScoredBag
from ros_ood_monitor.evaluation.bags.scoring import score_bag, score_frames
from ros_ood_monitor.evaluation.speed.machine import context
from ros_ood_monitor.evaluation.tables import text_table, write_text
from ros_ood_monitor.preprocess import Preprocessor
from ros_ood_monitor.records import Frame
from ros_ood_monitor.shards import Local
from ros_ood_monitor.share import bundle_path

ROOT = Path(__file__).resolve().parents[2]
BAG = ROOT / 'tests/bags/lunar_orbit/bag'
SIZES = [(240, 320), (480, 640), (1080, 1920)]
GOAL = 0.8
PARTS = ['speed', 'processes', 'memory']
TOPIC = '/camera/image/compressed'

MEMORY = """
import sys
from pathlib import Path
from ros_ood_monitor.evaluation.bags.runs import Scoring
from ros_ood_monitor.evaluation.bags.scoring import score_bag

def resident():
    return int(Path('/proc/self/statm').read_text().split()[1]) * 4096

bundle, engine = Scoring(Path(sys.argv[1])).open()
seen = []

def count():
    seen[:] = [(seen[0] if seen else 0) + 1, *seen[1:]]
    if seen[0] % 600 == 0:
        seen.append(resident())

scored = score_bag(Path(sys.argv[2]), bundle, engine, workers=1, on_frame=count)
print(*seen)
"""


def frames(height: int, width: int, count: int) -> list[Frame]:
    """Return the shipped bag's first frames, enlarged."""
    with BagReader(BAG) as bag:
        found = [frame for frame, _ in zip(bag.frames(), range(count), strict=False)]
    return [
        Frame(cv2.resize(frame.rgb, (width, height), interpolation=cv2.INTER_CUBIC), frame.stamp)
        for frame in found
    ]


def write(path: Path, pictures: list[Frame], *, repeat: int = 1) -> Path:
    """Write frames as JPEG at 10 Hz, over and over."""
    with BagWriter(path) as writer:
        for k in range(repeat):
            for i, frame in enumerate(pictures):
                stamp = 1.8e9 + 0.1 * (k * len(pictures) + i)
                writer.write_jpeg(TOPIC, frame.rgb, stamp)
    return path


def decoded_ahead(bag: Path, bundle: Bundle, engine: Engine) -> ScoredBag:
    """Score a bag as `score_bag` does, but for the resize, which is the monitor's."""
    with BagReader(bag) as reader:
        received = reader.received_frames(workers=1)
        frames_ahead = ((message.log_time, frame) for message, frame in received)
        names = camera_names([TOPIC])
        return score_frames(frames_ahead, bundle, engine, path=bag, cameras=names)


def speed(opened: tuple[Bundle, Engine], folder: Path, count: int, rounds: int) -> dict[str, Any]:
    """Return frames per second of each contender at each size."""
    bundle, engine = opened
    manifest = bundle.manifest
    preprocess = Preprocessor(manifest.input_height, manifest.input_width)
    found: dict[str, Any] = {}
    for height, width in SIZES:
        pictures = frames(height, width, count)
        bag = write(folder / f'{width}', pictures)
        batches = [preprocess(frame.rgb) for frame in pictures]
        contenders = {
            'bare': lambda batches=batches: [engine.infer(batch) for batch in batches],
            'one thread': lambda bag=bag: score_bag(bag, bundle, engine),
            'decoded ahead': lambda bag=bag: decoded_ahead(bag, bundle, engine),
            'ahead': lambda bag=bag: score_bag(bag, bundle, engine, workers=1),
        }
        # (rounds, wall clock and processor)
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
        for turn in range(rounds + 1):
            for name, call in contenders.items():
                start = time.perf_counter(), time.process_time()
                call()
                if turn:  # the first round warms up
                    now = time.perf_counter(), time.process_time()
                    times[name].append((now[0] - start[0], now[1] - start[1]))
        bare = np.array(times['bare'])
        found[f'{width}x{height}'] = {
            name: {
                'frames_per_s': count / float(np.median([wall for wall, _ in taken])),
                'of_bare': float(np.median(bare[:, 0] / np.array(taken)[:, 0])),
                'best_of_bare': float((bare.min(axis=0) / np.array(taken).min(axis=0))[0]),
                'of_bare_in_processor_time': float(np.median(bare[:, 1] / np.array(taken)[:, 1])),
            }
            for name, taken in times.items()
        }
    return found


def processes(
    scoring: Scoring, opened: tuple[Bundle, Engine], bags: list[Path], rounds: int
) -> dict[str, Any]:
    """Return how long two bags take in one and in two processes, in s: the least of rounds."""
    taken: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(rounds):
        for jobs, seconds in taken.items():
            start = time.perf_counter()
            done = dict(score_bags(bags, scoring, opened, executor=Local(jobs)))
            seconds.append(time.perf_counter() - start)
            assert len(done) == len(bags)
    return {
        'bags': len(bags),
        'one': min(taken[1]),
        'two': min(taken[2]),
        'speed_up': float(np.median(np.array(taken[1]) / np.array(taken[2]))),
        'best_speed_up': min(taken[1]) / min(taken[2]),
    }


def memory(bundle: Path, bag: Path) -> dict[str, Any]:
    """Return the resident memory of a process while it scores a long bag, in MB."""
    command = [sys.executable, '-c', MEMORY, str(bundle), str(bag)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    count, *resident = map(int, done.stdout.split())
    megabytes = [round(value / 1e6, 1) for value in resident]
    return {
        'frames': count,
        'every_minute_mb': megabytes,
        'growth_mb': megabytes[-1] - megabytes[1],
    }


def main() -> None:
    """Measure, print, and write the file asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--frames', type=int, default=150)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--minutes', type=int, default=20)
    parser.add_argument('--parts', nargs='+', choices=PARTS, default=PARTS)
    parser.add_argument('--json', type=Path)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    scoring = Scoring(bundle_path('lunar_orbit'))
    opened = scoring.open()
    facts: dict[str, Any] = {'goal': GOAL}
    if args.json and args.json.exists():
        facts = json.loads(args.json.read_text(encoding='utf-8'))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in args.parts:
            before = context()
            if part == 'speed':
                found = speed(opened, folder, args.frames, args.rounds)
            else:
                small = frames(*SIZES[0], 580)
                if part == 'processes':
                    pair = [write(folder / f'pair{k}', small) for k in range(2)]
                    found = processes(scoring, opened, pair, args.rounds)
                else:
                    repeat = max(1, round(args.minutes * 600 / len(small)))
                    found = memory(scoring.bundle, write(folder / 'long', small, repeat=repeat))
            facts[part] = {**found, 'context': {**before, 'load_average_after': load()}}
            print(part, *show(part, found), sep='\n')
    if args.json:
        write_text(args.json, json.dumps(facts, indent=1, allow_nan=False) + '\n')


def load() -> list[float]:
    """Return the machine's load now."""
    return list(context()['load_average'])


def show(part: str, found: dict[str, Any]) -> list[str]:
    """Return lines for people."""
    if part != 'speed':
        return [json.dumps(found)]
    rows = [('frame', 'contender', 'frames/s', 'of bare', 'best of bare', 'processor time')]
    for size, contenders in found.items():
        for contender, figures in contenders.items():
            ratios = [f'{value:.2f}' for value in list(figures.values())[1:]]
            rows.append((size, contender, f'{figures["frames_per_s"]:.1f}', *ratios))
    return [text_table(rows)]


if __name__ == '__main__':
    main()
