"""
Time and AUROC of a bundle's precisions on the CPU, side by side in one run.

Usage::

    OMP_NUM_THREADS=1 python -m tests.bench.cpu_engines BUNDLE --ranges photos/train \
        --images photos/held_out --ood stylised_images edges \
        --json tests/bench/results/cpu_engines.json

The backbone in fp32 is converted to the others here, whether the bundle's gate let them in or
not, and scored by the bundle's own scorer. One thread, interleaved: each contender has its turn
in every round, so a ratio of two holds on a busy machine, too.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import json
from pathlib import Path
import tempfile
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ros_ood_monitor.bundle import Bundle, precision_files, write_bundle
from ros_ood_monitor.engines import Engine, open_engine
from ros_ood_monitor.engines.ort_engine import open_session
from ros_ood_monitor.evaluation.images.folders import list_folder, score_folder
from ros_ood_monitor.evaluation.speed.machine import context
from ros_ood_monitor.evaluation.speed.timing import Call, interleave, ratio, summary
from ros_ood_monitor.evaluation.tables import text_table, write_text
from ros_ood_monitor.images import read_image
from ros_ood_monitor.metrics import auroc, auroc_difference
from ros_ood_monitor.monitor import Monitor
from ros_ood_monitor.preprocess import Preprocessor
from ros_ood_monitor.records import Frame
from ros_ood_monitor.training.precisions import convert, PRECISIONS

RANGES = 128  # pictures that int8 takes its ranges from
BATCHES = (1, 4)


def in_precisions(
    bundle: Bundle,
    precisions: Sequence[str],
    folder: Path,
    images: npt.NDArray[np.uint8] | None = None,
) -> Bundle:
    """Write the bundle in other precisions; all have fp32's calibration and goldens."""
    backbone, given = bundle.backbone('fp32'), precision_files('fp32')
    files = {'scorer.onnx': bundle.scorer()}
    for precision in precisions:
        names = precision_files(precision)
        files[names[0]] = convert(backbone, precision, calibration_images=images)
        files |= {names[k]: bundle.read(given[k]) for k in (1, 2)}
    manifest = {**bundle.manifest.raw, 'precisions': list(precisions)}
    return write_bundle(folder, manifest=manifest, files=files)


def contenders(bundle: Bundle, engines: dict[str, Engine], rgb: list[Any]) -> dict[str, Call]:
    """Return a picture's way from less to more: backbone, engine, monitor at two frame sizes."""
    manifest = bundle.manifest
    preprocess = Preprocessor(manifest.input_height, manifest.input_width)
    tensors = [preprocess(each) for each in rgb]  # k x (1, h, w, 3)
    small = [Frame(tensor[0]) for tensor in tensors]
    large = [Frame(np.asarray(cv2.resize(each, (640, 480)), dtype=np.uint8)) for each in rgb]
    taken = [node.name for node in open_session(bundle.scorer()).get_inputs()]
    found: dict[str, Call] = {}

    def add(precision: str, engine: Engine) -> None:
        session = open_session(bundle.backbone(precision), precision=precision)
        monitor = Monitor(bundle, engine)
        n = len(rgb)
        found[f'{precision} backbone'] = lambda k: session.run(taken, {'image': tensors[k % n]})
        found[f'{precision} observe'] = lambda k: monitor.observe(small[k % n])
        found[f'{precision} observe 640x480'] = lambda k: monitor.observe(large[k % n])

    for precision, engine in engines.items():
        add(precision, engine)
    for count in BATCHES:
        batch = np.concatenate([tensors[k % len(rgb)] for k in range(count)])
        found[f'fp32 batch {count}'] = lambda _, batch=batch: engines['fp32'].infer(batch)
    return found


def scores_of(bundle: Bundle, engine: Engine, folder: Path) -> npt.NDArray[np.float64]:
    manifest = bundle.manifest
    preprocess = Preprocessor(manifest.input_height, manifest.input_width)
    files = list_folder(folder)
    return score_folder(folder, files, preprocess, engine, name=folder.name).raw_score


def judged(bundle: Bundle, engine: Engine, args: Any, fp32: dict[str, Any]) -> dict[str, Any]:
    """Compare the scores with those of fp32, which are kept in ``fp32``."""
    scores = {str(path): scores_of(bundle, engine, path) for path in (args.images, *args.ood)}
    if not fp32:
        fp32.update(scores)
    first, wanted = scores[str(args.images)], fp32[str(args.images)]
    calibration = bundle.calibration('fp32')
    shown = np.array([calibration.score(value) for value in first])
    shown_wanted = np.array([calibration.score(value) for value in wanted])
    error = np.abs(first - wanted)
    rows: dict[str, Any] = {}
    for path in args.ood:
        pair = fp32[str(path)], scores[str(path)]
        lost = auroc_difference((wanted, first), pair)
        rows[path.name] = {
            'auroc': auroc(first, scores[str(path)]),
            'less_fp32': lost.value,
            'standard_error': lost.standard_error,
        }
    return {
        'auroc': rows,
        'raw_score_error': {'mean': float(error.mean()), 'max': float(error.max())},
        'raw_score_error_sigma': float(error.mean() / wanted.std()),
        'score_error_max': float(np.abs(shown - shown_wanted).max()),
    }


def measured(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    before = context()
    source = Bundle.load(args.bundle)
    height, width = source.manifest.input_height, source.manifest.input_width
    preprocess = Preprocessor(height, width)
    rgb = [read_image(path) for path in list_folder(args.ranges)[:RANGES]]
    images = np.concatenate([preprocess(each) for each in rgb])  # (k, h, w, 3)
    bundle = in_precisions(source, PRECISIONS, folder, images)
    engines = {name: open_engine(bundle, 'onnxruntime', precision=name) for name in PRECISIONS}
    calls = contenders(bundle, engines, rgb[:4])
    times = interleave(calls, rounds=args.rounds, burst=3, warm_up=5)
    after = context()['load_average']
    fp32: dict[str, Any] = {}
    found: dict[str, Any] = {}
    for name, engine in engines.items():
        backbone = times[f'{name} backbone']
        found[name] = {
            'mib': len(bundle.backbone(name)) / 2**20,
            'backbone_of_fp32': vars(ratio(backbone, times['fp32 backbone'])),
            'observe_of_backbone': vars(ratio(times[f'{name} observe'], backbone)),
            **judged(bundle, engine, args, fp32),
        }
    return {
        'bundle': {'name': source.manifest.name, 'input': f'{width}x{height}'},
        'pictures': {path.name: len(list_folder(path)) for path in (args.images, *args.ood)},
        'rounds': args.rounds,
        'context': {**before, 'load_average_after': after},
        'times_ms': {name: summary(values) for name, values in times.items()},
        'precisions': found,
        'batch_ms_a_picture': {str(n): float(times[f'fp32 batch {n}'].min()) / n for n in BATCHES},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('bundle', type=Path)
    parser.add_argument('--ranges', type=Path, required=True, help='pictures it was trained on')
    parser.add_argument('--images', type=Path, required=True, help='pictures it was not')
    parser.add_argument('--ood', type=Path, nargs='+', required=True)
    parser.add_argument('--json', metavar='FILE')
    parser.add_argument('--rounds', type=int, default=40)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        facts = measured(args, Path(folder, 'bundle'))
    rows = [('', 'min', 'p50')]
    rows += [(k, f'{t["min"]:.2f}', f'{t["p50"]:.2f}') for k, t in facts['times_ms'].items()]
    print(text_table(rows))
    print(json.dumps(facts['precisions'], indent=1))
    if args.json:
        write_text(args.json, json.dumps(facts, indent=1) + '\n')


if __name__ == '__main__':
    main()
