"""
What tiles bring to whole frames with one small defect, and how their scores are best combined.

Usage, in an environment with the extra ``train``; `board_pairs` makes the pictures::

    python -m tests.bench.tiles --pictures PAIRS --variants 1x1 1x1@448 2x2 3x3 --json FILE

Every variant is trained by itself: taps are `mahalanobis`, and so are the cells of the map. Rows
of the table are AUROC of ``defect/`` against ``clean/``, by the sum over taps of the mean over all
tiles, by that of the strangest tile (the detector fitted to tiles in the place of frames), by the
highest 1 % of all cells, by that of the tile where it is highest, and by what raw_score is (the
first and the last of these, alike). A time is that of backbone and scorer, one thread, in turn.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
import copy
import json
from pathlib import Path
import tempfile
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from ros_ood_monitor.engines.ort_engine import open_session
from ros_ood_monitor.evaluation.speed.machine import context
from ros_ood_monitor.evaluation.speed.timing import interleave, ratio
from ros_ood_monitor.evaluation.tables import text_table, write_text
from ros_ood_monitor.images import image_files, read_image
from ros_ood_monitor.metrics import auroc, auroc_interval
from ros_ood_monitor.training.backbones import TiledBackbone, tiles_of
from ros_ood_monitor.training.detectors import fit_closed_form
from ros_ood_monitor.training.export.graphs import export_backbone, export_scorer, output_names
from ros_ood_monitor.training.export.scorer import highest_mean
from ros_ood_monitor.training.features.frame_reader import FrameReader
from ros_ood_monitor.training.features.open_reader import open_reader
from ros_ood_monitor.training.fitting.fitted_taps import deviation_of_sum, FittedTap, make_scorer
from ros_ood_monitor.training.fitting.fitted_taps import scores as scores_of
from ros_ood_monitor.training.fitting.taps import fit_taps
from ros_ood_monitor.training.frames.split import split_frames
from ros_ood_monitor.training.maps.fit import fit_map, FittedMap
from ros_ood_monitor.training.preflight import preflight
from ros_ood_monitor.training.progress import Progress
from ros_ood_monitor.training.settings.train_settings import Resources, TrainSettings

Scores: TypeAlias = npt.NDArray[np.float64]
QUIET = Progress(quiet=True)


class Seen:
    """
    What the network gives of the tiles of some pictures.

    Parameters
    ----------
    reader : FrameReader
        Backbone and geometry.
    files : sequence of Path
        The pictures.

    """

    def __init__(self, reader: FrameReader, files: Sequence[Path]) -> None:
        assert reader.plan is not None
        tiles, backbone = tiles_of(reader.backbone), reader.backbone
        height, width = reader.preprocess.height, reader.preprocess.width
        part = backbone.whole if isinstance(backbone, TiledBackbone) else backbone
        size = height // tiles.rows, width // tiles.columns
        session = open_session(export_backbone(part, reader.taps, *size, reader.maps))
        names = output_names(reader.taps, reader.maps)
        found = [
            session.run(names, {'image': tiles.cut(reader.preprocess(read_image(file)))})
            for file in files
        ]
        count = len(reader.taps)
        self.tiles = tiles
        # by tap (n, tiles, channels), and by stage (n, gh, gw, channels)
        self.pooled = [np.stack([one[k] for one in found]) for k in range(count)]
        self.maps = [
            np.concatenate([tiles.together(one[k]) for one in found])
            for k in range(count, len(names))
        ]

    def mean_features(self, k: int) -> npt.NDArray[np.float32]:
        """Return a tap's features, the mean over tiles, (n, channels)."""
        return np.ascontiguousarray(self.pooled[k].mean(axis=1))

    def of_taps(self, fitted: Sequence[FittedTap]) -> Scores:
        """Return the sum over taps of the mean over tiles, (n,)."""
        total = np.zeros(len(self.pooled[0]))
        for k, row in enumerate(fitted):
            mean, std = row.standard
            own = row.normalization(self.mean_features(k))
            total += (scores_of(row.detector, own) - mean) / std
        return total

    def cells(self, one: FittedMap) -> npt.NDArray[np.float32]:
        """Return the maps, (n, gh, gw)."""
        scorer = copy.deepcopy(one.cells).float()
        with torch.no_grad():
            each = [
                scorer([torch.from_numpy(stage[k : k + 1]) for stage in self.maps])
                for k in range(len(self.maps[0]))
            ]
        return np.asarray(torch.cat(each).numpy(), np.float32)


def strangest_tiles(fit: Seen, held_out: Seen, others: Sequence[Seen]) -> list[Scores]:
    """Return the highest sum over taps of any tile, of detectors fitted to tiles."""
    totals = [np.zeros(one.pooled[0].shape[:2]) for one in others]  # (n, tiles) each

    def unit(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        rows = values.reshape(-1, values.shape[-1])
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    for k in range(len(fit.pooled)):
        detector = fit_closed_form('mahalanobis', unit(fit.pooled[k])).detector
        normal = scores_of(detector, unit(held_out.pooled[k]))
        for total, one in zip(totals, others, strict=True):
            z = (scores_of(detector, unit(one.pooled[k])) - normal.mean()) / normal.std()
            total += z.reshape(total.shape)
    return [total.max(axis=1) for total in totals]


def judge(args: argparse.Namespace, variant: str, scratch: Path) -> tuple[dict[str, Any], Any]:
    """Train a variant and look at all pictures; return figures, and what times it."""
    tiles, _, size = variant.partition('@')
    settings = TrainSettings(
        data=(args.pictures / 'fit',),
        density='mahalanobis',
        alpha=0.1,
        split='block',
        tiles=tiles,
        input_size=int(size) if size else None,
    )
    dataset = preflight(settings, scratch / 'bundle')
    reader = open_reader(dataset, settings, Resources(cache=args.cache, device='cpu'), QUIET)
    assert reader.plan is not None
    with reader.all_frames(lambda _: None) as table:
        split = split_frames(table.sequence, rule='block', alpha=0.1, by_sequence=False, seed=0)
        probes = np.concatenate([table.of(tap, split.validation) for tap in reader.taps], axis=1)
        every = fit_taps(
            table, split, settings, probes=probes, store=None, facts={}, progress=QUIET
        )
        taps = [next(iter(by_kind.values())) for by_kind in every]
        one = fit_map(
            table,
            split,
            settings,
            reader.plan,
            density='mahalanobis',
            score=lambda cells, rows: reader.cell_scores(cells, table, rows),
        )
        weight = deviation_of_sum(taps, table, split)
        files = sorted((args.pictures / 'fit').rglob('*.png'))
        fit, held_out = (
            Seen(reader, [files[row] for row in part]) for part in (split.fit, split.validation)
        )
    clean, defect = (Seen(reader, image_files(args.pictures / kind)) for kind in KINDS)
    mean, std = one.cells.local or (0.0, 1.0)
    parts: dict[str, list[Scores]] = {
        'taps': [seen.of_taps(taps) for seen in (clean, defect)],
        'taps_of_strangest_tile': strangest_tiles(fit, held_out, [clean, defect]),
    }
    maps = [seen.cells(one) for seen in (clean, defect)]
    parts['map'] = [highest_mean(cells) for cells in maps]
    parts['map_of_strangest_tile'] = [highest_mean(cells, reader.plan.tiles) for cells in maps]
    parts['raw_score'] = [
        of_taps + weight * (local - mean) / std
        for of_taps, local in zip(parts['taps'], parts['map_of_strangest_tile'], strict=True)
    ]
    interval = auroc_interval(*parts['raw_score'], seed=0)
    facts = {
        'input': [reader.preprocess.height, reader.preprocess.width],
        'grid': list(reader.plan.grid),
        'auroc': {name: auroc(*pair) for name, pair in parts.items()},
        'raw_score_interval': [interval.low, interval.high],
    }
    return facts, timed(reader, taps, one, weight)


KINDS = ('clean', 'defect')


def timed(
    reader: FrameReader, taps: list[FittedTap], one: FittedMap, weight: float
) -> Callable[[int], object]:
    """Return a run of backbone and scorer."""
    scorer = make_scorer(taps, one.cells, weight)
    sessions = (
        open_session(reader.onnx),
        open_session(export_scorer(copy.deepcopy(scorer).float(), reader.taps)),
    )
    names = output_names(reader.taps, reader.maps)
    image = np.zeros((1, reader.preprocess.height, reader.preprocess.width, 3), np.uint8)

    def run(_: int) -> object:
        values = sessions[0].run(names, {'image': image})
        return sessions[1].run(None, dict(zip(names, values, strict=True)))

    return run


def measure(args: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the figures of every variant, then their times."""
    runs = {}
    found = {}
    for variant in args.variants:
        with tempfile.TemporaryDirectory() as scratch:
            found[variant], runs[variant] = judge(args, variant, Path(scratch))
        print(variant, json.dumps(found[variant]), flush=True)
    times = interleave(runs, rounds=args.rounds, burst=1, warm_up=1)
    first = times[args.variants[0]]
    for variant, facts in found.items():
        cost = {
            'ms': float(np.median(times[variant])),
            'times_the_first': ratio(times[variant], first).of_minima,
        }
        yield variant, {**facts, 'cost': cost}


def main() -> None:
    """Measure, print, and write the file asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--pictures', type=Path, required=True, help='what `board_pairs` made')
    parser.add_argument('--variants', nargs='+', default=['1x1', '1x1@448', '2x2', '3x3'])
    parser.add_argument('--rounds', type=int, default=15)
    parser.add_argument('--cache', type=Path)
    parser.add_argument('--json', type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    before = context()
    found = dict(measure(args))
    names = list(next(iter(found.values()))['auroc'])
    print(
        text_table(
            [
                ('tiles@input', *names, 'times the first'),
                *(
                    (
                        variant,
                        *(f'{facts["auroc"][name]:.3f}' for name in names),
                        f'{facts["cost"]["times_the_first"]:.1f}',
                    )
                    for variant, facts in found.items()
                ),
            ]
        )
    )
    if args.json:
        facts = {'variants': found, 'context': {**before, 'torch': torch.__version__}}
        write_text(args.json, json.dumps(facts, indent=1, allow_nan=False) + '\n')


if __name__ == '__main__':
    main()
