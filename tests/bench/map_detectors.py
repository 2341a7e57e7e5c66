"""
Judge every detector of a map's cells: what pseudo-defects say, then what real ones say.

Usage, in an environment with the extra ``train``; what made docs/detectors.md is there::

    python -m tests.bench.map_detectors --data CROPS/fit --test CROPS/clean --ood CROPS/defect
    python -m tests.bench.map_detectors --data TEMPLATES --boxes BOARDS/00041 --input-size 448

Pseudo-defects are those of ``train --density evidence``: a part of another frame, or a strip of
the frame itself, pasted into held-out frames at a known place. Figures of boxes are over the
pixels of the pictures with defects alone (``<id>_test.jpg`` with ``<id>.txt``): how templates were
saved plays no part in them. Rows of frames compare the sum over taps, the map's highest cells, and
both together. The cost is (backbone with maps + whole scorer) / plain backbone in ONNX Runtime,
one thread, in turn in one run.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
import copy
import json
from pathlib import Path
import tempfile
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ros_ood_monitor.engines.ort_engine import open_session
from ros_ood_monitor.evaluation.images.boxes import read_boxes
from ros_ood_monitor.evaluation.speed.machine import context
from ros_ood_monitor.evaluation.speed.timing import interleave, ratio
from ros_ood_monitor.evaluation.tables import text_table, write_text
from ros_ood_monitor.images import image_files, read_image
from ros_ood_monitor.maps.mapper import Mapper
from ros_ood_monitor.metrics import auroc, auroc_difference
from ros_ood_monitor.metrics.boxes import box_hits, mask_of_boxes
from ros_ood_monitor.metrics.pixels import PixelScores
from ros_ood_monitor.training.export.graphs import export_backbone, export_scorer, output_names
from ros_ood_monitor.training.export.scorer import highest_mean
from ros_ood_monitor.training.features.frame_reader import FrameReader
from ros_ood_monitor.training.features.open_reader import open_reader
from ros_ood_monitor.training.features.table import FeatureTable
from ros_ood_monitor.training.fitting.fitted_taps import (
    deviation_of_sum,
    FittedTap,
    make_scorer,
    scores,
)
from ros_ood_monitor.training.fitting.taps import fit_taps
from ros_ood_monitor.training.frames.split import Split, split_frames
from ros_ood_monitor.training.held_out.pictures import Pictures
from ros_ood_monitor.training.maps.choice import cell_auroc, changed_cells
from ros_ood_monitor.training.maps.fit import fit_map, FittedMap
from ros_ood_monitor.training.preflight import preflight
from ros_ood_monitor.training.progress import Progress
from ros_ood_monitor.training.settings.densities import MAP_DENSITIES
from ros_ood_monitor.training.settings.train_settings import Resources, TrainSettings

Inputs = npt.NDArray[np.uint8]
Scores = npt.NDArray[np.float64]

NORMAL_SHARE = 0.01


def inputs_of(reader: FrameReader, files: list[Path]) -> Iterator[Inputs]:
    """Yield network inputs, some at a time."""
    for start in range(0, len(files), 64):
        yield np.stack([reader.preprocess(read_image(f))[0] for f in files[start : start + 64]])


class Judge:
    """What one training's detectors say of pictures."""

    def __init__(
        self, reader: FrameReader, table: FeatureTable, split: Split, taps: list[FittedTap]
    ) -> None:
        self.reader, self.table, self.split, self.taps = reader, table, split, taps

    def of_taps(self, features: npt.NDArray[np.float32]) -> Scores:
        """Return the sum over taps of the standardised scores, (n,)."""
        total = np.zeros(len(features))
        for row in self.taps:
            own = row.normalization(np.ascontiguousarray(features[:, self.table.columns(row.tap)]))
            mean, std = row.standard
            total += (scores(row.detector, own) - mean) / std
        return total

    def local(self, maps: npt.NDArray[np.float32]) -> Scores:
        """Return the local scores of maps, (n,)."""
        assert self.reader.plan is not None
        return highest_mean(maps, self.reader.plan.tiles)

    def frames(self, one: FittedMap, images: Inputs) -> tuple[Scores, Scores]:
        """Return both parts of raw_score of pictures, (n,) each."""
        maps = self.reader.cell_maps(one.cells, images)
        mean, std = one.cells.local or (0.0, 1.0)
        return self.of_taps(self.reader.features(images)), (self.local(maps) - mean) / std


def of_frames(
    near: tuple[Scores, Scores], far: tuple[Scores, Scores], weight: float
) -> dict[str, float]:
    """Return AUROC of the taps, of the map, and of both, with the gain of both over the taps."""
    both = near[0] + weight * near[1], far[0] + weight * far[1]
    gain = auroc_difference((near[0], both[0]), (far[0], both[1]))
    return {
        'taps': auroc(near[0], far[0]),
        'map': auroc(near[1], far[1]),
        'both': auroc(*both),
        'one_term_more': auroc(near[0] + near[1], far[0] + far[1]),
        'gain': gain.value,
        'standard_error': gain.standard_error,
    }


def of_boxes(
    reader: FrameReader, one: FittedMap, folders: list[Path], every: int
) -> dict[str, float]:
    """Return figures over the pixels of pictures with defects."""
    mapper = Mapper(reader.preprocess)
    pixels, heats = PixelScores(), []
    for folder in folders:
        for file in sorted(folder.glob('*_test.jpg'))[::every]:
            image = read_image(file)
            size = image.shape[:2]
            boxes = read_boxes(file.with_name(file.name.replace('_test.jpg', '.txt')), *size)
            maps = reader.cell_maps(one.cells, reader.preprocess(image))
            heat = mapper(maps[0], size)
            pixels.add(heat, mask_of_boxes(boxes, *size))
            heats.append((heat.astype(np.float16), boxes))
    metrics, threshold = pixels.metrics(), pixels.threshold_at(NORMAL_SHARE)
    hits = box_hits(((heat.astype(np.float32), boxes) for heat, boxes in heats), threshold)
    return {
        **metrics._asdict(),
        'anomalous_share': pixels.anomalous_share,
        'boxes': hits.count,
        'hits': hits.rate,
        'hits_by_chance': hits.chance,
    }


def costs(
    reader: FrameReader, taps: list[FittedTap], maps: dict[str, FittedMap], rounds: int
) -> dict[str, Any]:
    """Return (backbone with maps + scorer) / plain backbone of each detector."""
    height, width = reader.preprocess.height, reader.preprocess.width
    plain = open_session(export_backbone(reader.backbone, reader.taps, height, width))
    backbone = open_session(reader.onnx)
    image = np.zeros((1, height, width, 3), np.uint8)
    pooled, names = output_names(reader.taps, ()), output_names(reader.taps, reader.maps)
    passed = dict(zip(names, backbone.run(names, {'image': image}), strict=True))
    contenders: dict[str, Any] = {
        'plain backbone': lambda _: plain.run(pooled, {'image': image}),
        'backbone with maps': lambda _: backbone.run(names, {'image': image}),
    }
    sizes = {}
    for density, one in maps.items():
        graph = export_scorer(
            copy.deepcopy(make_scorer(taps, one.cells, 1.0)).float(), reader.taps
        )
        sizes[density] = len(graph) / 2**20
        session = open_session(graph)
        contenders[density] = lambda _, session=session: session.run(None, passed)
    times = interleave(contenders, rounds=rounds, burst=3, warm_up=5)
    with_maps = ratio(times['backbone with maps'], times['plain backbone']).median
    return {
        'plain_backbone_ms': float(np.median(times['plain backbone'])),
        'backbone_with_maps_ratio': with_maps,
        **{
            density: {
                'ratio': with_maps + ratio(times[density], times['plain backbone']).median,
                'scorer_ms': float(np.median(times[density])),
                'scorer_mib': sizes[density],
                'fit_s': one.seconds,
            }
            for density, one in maps.items()
        },
    }


def judge(args: argparse.Namespace, settings: TrainSettings, scratch: Path) -> dict[str, Any]:
    """Fit all detectors and look at everything that is given."""
    dataset = preflight(settings, scratch / 'bundle')
    resources = Resources(cache=args.cache, device='cpu')
    reader = open_reader(dataset, settings, resources, Progress(quiet=True))
    assert reader.plan is not None
    with reader.all_frames(lambda _: None) as table:
        split = split_frames(
            table.sequence, rule=args.split, alpha=settings.alpha, by_sequence=False, seed=0
        )
        pictures = Pictures.choose(table, split, seed=0)
        probes = reader.features(pictures.all_pseudo())
        (*every,) = fit_taps(
            table,
            split,
            settings,
            probes=probes,
            store=None,
            facts={},
            progress=Progress(quiet=True),
        )
        taps = [next(iter(by_kind.values())) for by_kind in every]
        maps = {
            kind: fit_map(
                table,
                split,
                settings,
                reader.plan,
                density=kind,
                score=lambda cells, rows: reader.cell_scores(cells, table, rows),
            )
            for kind in args.densities
        }
        own = Judge(reader, table, split, taps)
        near = pictures.near(seed=0)
        defects = np.concatenate(list(near.values()))
        rounds = len(defects) // len(pictures.sources)
        sources = np.concatenate([pictures.sources] * rounds)
        changed = changed_cells(defects, sources, reader.plan.grid)
        weight = deviation_of_sum(taps, table, split)
        found: dict[str, Any] = {}
        for kind, one in maps.items():
            found[kind] = {
                'cells_of_pseudo_defects': cell_auroc(
                    reader.cell_maps(one.cells, defects), changed
                ),
                'pseudo_frames': of_frames(
                    own.frames(one, pictures.sources), own.frames(one, defects), weight
                ),
            }
            if args.test:
                normal = frames_of(own, one, image_files(args.test))
                found[kind]['frames'] = {
                    folder.name: of_frames(
                        normal, frames_of(own, one, image_files(folder)), weight
                    )
                    for folder in args.ood
                }
            if args.boxes:
                found[kind]['boxes'] = of_boxes(reader, one, args.boxes, args.every)
            print(kind, json.dumps(found[kind]), flush=True)
        return {
            'pictures': {
                'fit': len(split.fit),
                'validation': len(split.validation),
                'calibration': len(split.calibration),
            },
            'map': {
                'taps': [tap.name for tap in reader.plan.taps],
                'grid': list(reader.plan.grid),
                'normalization': settings.normalization,
                'tiles': settings.tiles,
                'coreset': settings.coreset,
                'cells_fitted': next(iter(maps.values())).rows,
            },
            'density_of_taps': settings.density,
            'detectors': found,
            'cost': costs(reader, taps, maps, args.repeats),
        }


def frames_of(own: Judge, one: FittedMap, files: list[Path]) -> tuple[Scores, Scores]:
    """Return both parts of raw_score of files."""
    parts = [own.frames(one, images) for images in inputs_of(own.reader, files)]
    return np.concatenate([a for a, _ in parts]), np.concatenate([b for _, b in parts])


def main() -> None:
    """Measure, print, and write the file asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--data', type=Path, required=True, nargs='+', help='pictures to train on')
    parser.add_argument('--test', type=Path, help='normal pictures to test frames on')
    parser.add_argument('--ood', type=Path, nargs='*', default=[])
    parser.add_argument('--boxes', type=Path, nargs='*', default=[])
    parser.add_argument('--every', type=int, default=1, help='of the pictures with boxes')
    parser.add_argument('--map', nargs='+', default='auto')
    parser.add_argument('--densities', nargs='+', default=MAP_DENSITIES[1:])
    parser.add_argument('--density', default='mahalanobis', help='of the taps')
    parser.add_argument('--normalization', default='l2')
    parser.add_argument('--input-size', type=int)
    parser.add_argument('--tiles', default='1x1')
    parser.add_argument('--coreset', type=int)
    parser.add_argument('--split', default='block', choices=('block', 'sequence'))
    parser.add_argument('--alpha', type=float, default=0.05)
    parser.add_argument('--repeats', type=int, default=20)
    parser.add_argument('--cache', type=Path)
    parser.add_argument('--json', type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    before = context()
    settings = TrainSettings(
        data=tuple(args.data),
        density=args.density,
        normalization=args.normalization,
        map=args.map,
        input_size=args.input_size,
        tiles=args.tiles,
        coreset=args.coreset,
        split=args.split,
        alpha=args.alpha,
    )
    with tempfile.TemporaryDirectory() as scratch:
        facts = judge(args, settings, Path(scratch))
    facts['context'] = {**before, 'torch': torch.__version__}
    show(facts)
    if args.json:
        write_text(args.json, json.dumps(facts, indent=1, allow_nan=False) + '\n')


def show(facts: dict[str, Any]) -> None:
    """Print the table."""
    rows = [('detector', 'pseudo cells', 'pseudo frames', 'frames', 'boxes', 'ratio', 'fit s')]
    for kind, row in facts['detectors'].items():
        pairs = [row['pseudo_frames'], *row.get('frames', {}).values()]
        texts = [f'{p["taps"]:.3f}, {p["map"]:.3f}, {p["both"]:.3f}' for p in pairs]
        boxes = row.get('boxes')
        rows.append(
            (
                kind,
                f'{row["cells_of_pseudo_defects"]:.3f}',
                texts[0],
                '; '.join(texts[1:]),
                f'{boxes["auroc"]:.3f}, {boxes["ap"]:.3f}, {boxes["aupro"]:.3f}, '
                f'{boxes["hits"]:.3f}'
                if boxes
                else '',
                f'{facts["cost"][kind]["ratio"]:.3f}',
                f'{facts["cost"][kind]["fit_s"]:.1f}',
            )
        )
    print(text_table(rows))


if __name__ == '__main__':
    main()
