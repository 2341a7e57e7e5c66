"""
Judge every detector and the rule that chooses among them on real out-of-distribution pictures.

Usage, in an environment with the extra ``train``; what made docs/detectors.md is there::

    python -m tests.bench.detectors --data PHOTOS --first 700 --ood STYLISED EDGES --json FILE
    python -m tests.bench.detectors --data FIT --test NORMAL --ood ODD ... --json FILE

Fits as ``ood_monitor train --density evidence`` does, then scores pictures that training did not
see. "Best in hindsight" is the candidate with the highest mean AUROC over the OOD folders, which
nobody could have taken; the regret is what the rule's choice lacks to it. The cost of each
detector is (backbone + scorer) / backbone in ONNX Runtime, one thread, measured in one run.
"""

from __future__ import annotations

import argparse
import copy
import json
from pathlib import Path
import tempfile
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ros_ood_monitor.engines.ort_engine import open_session
from ros_ood_monitor.evaluation.speed.machine import context
from ros_ood_monitor.evaluation.speed.timing import interleave, ratio
from ros_ood_monitor.evaluation.tables import text_table, write_text
from ros_ood_monitor.images import image_files, read_image
from ros_ood_monitor.metrics import auroc, auroc_interval, fpr95_id_positive, fpr95_ood_positive
from ros_ood_monitor.training.export.graphs import export_scorer
from ros_ood_monitor.training.features.frame_reader import FrameReader
from ros_ood_monitor.training.features.open_reader import open_reader
from ros_ood_monitor.training.features.table import FeatureTable
from ros_ood_monitor.training.fitting.choice import Choice, choose, choosing_probes, DEFAULT, taken
from ros_ood_monitor.training.fitting.fitted_taps import FittedTap, make_scorer, scores
from ros_ood_monitor.training.fitting.taps import fit_taps
from ros_ood_monitor.training.frames.split import split_frames
from ros_ood_monitor.training.held_out.pictures import Pictures
from ros_ood_monitor.training.preflight import preflight
from ros_ood_monitor.training.progress import Progress
from ros_ood_monitor.training.settings.densities import CLOSED_FORMS
from ros_ood_monitor.training.settings.train_settings import Resources, TrainSettings

Scores = npt.NDArray[np.float64]
Every = list[dict[str, FittedTap]]

DENSITIES = (DEFAULT, *CLOSED_FORMS)


def features(reader: FrameReader, files: list[Path]) -> npt.NDArray[np.float32]:
    """Return the features of all taps, some pictures at a time."""
    parts = []
    for start in range(0, len(files), 128):
        inputs = [reader.preprocess(read_image(file))[0] for file in files[start : start + 128]]
        parts.append(reader.features(np.stack(inputs)))
    return np.concatenate(parts)


def fit(
    settings: TrainSettings, fitted_files: Path, cache: Path | None
) -> tuple[FrameReader, Every, Choice, dict[str, Any]]:
    """Fit every detector and apply the rule, as a training does."""
    resources = Resources(cache=cache, device='cpu')
    dataset = preflight(settings, fitted_files / 'bundle')
    reader = open_reader(dataset, settings, resources, Progress(quiet=True))
    with reader.all_frames(lambda _: None) as table:
        split = split_frames(
            table.sequence, rule=settings.split, alpha=settings.alpha, by_sequence=False, seed=0
        )
        pictures = Pictures.choose(reader, table, split, seed=settings.seed)
        probes = reader.features(pictures.all_pseudo())
        every = fit_taps(
            table,
            split,
            settings,
            probes=probes,
            store=None,
            progress=Progress(quiet=True),
        )
        choice = choose(
            every,
            table,
            pictures.source_rows,
            choosing_probes(reader, pictures, probes, seed=settings.seed),
        )
        counts = [len(part) for part in (split.fit, split.validation, split.calibration)]
    return (
        reader,
        every,
        choice,
        dict(zip(('fit', 'validation', 'calibration'), counts, strict=True)),
    )


def standardised(every: Every, table: FeatureTable, rows: npt.NDArray[np.float32]) -> Any:
    """Return (taps, n) standardised scores by detector."""
    found = {}
    for density in DENSITIES:
        taps = []
        for row in taken(every, density):
            columns = table.columns(row.tap)
            x = row.normalization(np.ascontiguousarray(rows[:, columns]))
            taps.append((scores(row.detector, x) - row.standard[0]) / row.standard[1])
        found[density] = np.stack(taps)
    return found


def measures(near: Scores, far: Scores) -> dict[str, Any]:
    """Return AUROC with its interval, and both FPR."""
    return {
        'auroc': auroc(near, far),
        'auroc_95': list(auroc_interval(near, far, seed=0)),
        'fpr95_id_positive': fpr95_id_positive(near, far),
        'fpr95_ood_positive': fpr95_ood_positive(near, far),
    }


def costs(reader: FrameReader, every: Every, rounds: int) -> dict[str, Any]:
    """Return (backbone + scorer) / backbone of each detector on all taps."""
    names = [tap.output for tap in reader.taps]
    backbone = open_session(reader.onnx)
    image = np.zeros((1, reader.preprocess.height, reader.preprocess.width, 3), np.uint8)
    inputs = dict(zip(names, backbone.run(names, {'image': image}), strict=True))
    contenders: dict[str, Any] = {'backbone': lambda _: backbone.run(names, {'image': image})}
    sizes = {}
    for density in DENSITIES:
        scorer = make_scorer(taken(every, density))
        graph = export_scorer(copy.deepcopy(scorer).float(), reader.taps)
        sizes[density] = len(graph) / 2**20
        session = open_session(graph)
        contenders[density] = lambda _, session=session: session.run(['raw_score'], inputs)
    times = interleave(contenders, rounds=rounds, burst=3, warm_up=5)
    return {
        density: {
            'ratio': 1.0 + ratio(times[density], times['backbone']).median,
            'scorer_ms': float(np.median(times[density])),
            'scorer_mib': sizes[density],
            'fit_s': sum(row.seconds for row in taken(every, density)),
        }
        for density in DENSITIES
    } | {'backbone': {'ms': float(np.median(times['backbone']))}}


def judge(
    every: Every, choice: Choice, reader: FrameReader, test: list[Path], ood: dict[str, list[Path]]
) -> dict[str, Any]:
    """Return what every candidate reaches on real pictures, and the regret of the rule."""
    table = FeatureTable(reader.taps, [])  # for the places of the columns alone
    near = standardised(every, table, features(reader, test))
    far = {
        name: standardised(every, table, features(reader, files)) for name, files in ood.items()
    }
    names = [tap.name for tap in reader.taps]

    def reached(density: str, taps: list[int], *, all_figures: bool = True) -> dict[str, Any]:
        pairs = {
            name: (near[density][taps].sum(axis=0), z[density][taps].sum(axis=0))
            for name, z in far.items()
        }
        mean = float(np.mean([auroc(*pair) for pair in pairs.values()]))
        rows = {name: measures(*pair) for name, pair in pairs.items()} if all_figures else {}
        return {'mean_auroc': mean, 'ood': rows}

    every_tap = list(range(len(names)))
    candidates = [
        {
            'density': one.density,
            'from_tap': one.taps[0],
            'auroc_near_pseudo_ood': one.auroc,
            'error_near_pseudo_ood': one.error,
            'gain': one.gain,
            'standard_error': one.standard_error,
            **reached(
                one.density,
                every_tap[names.index(one.taps[0]) :],
                all_figures=one is choice.taken or len(one.taps) == len(names),
            ),
        }
        for one in choice.candidates
    ]
    taken_row = candidates[list(choice.candidates).index(choice.taken)]
    alone = {
        density: {
            name: reached(density, [k], all_figures=False)['mean_auroc']
            for k, name in enumerate(names)
        }
        for density in DENSITIES
    }
    best = max(candidates, key=lambda row: row['mean_auroc'])
    best_alone = max((area, d, tap) for d, row in alone.items() for tap, area in row.items())
    on_all = [row for row in candidates if row['from_tap'] == names[0]]
    best_on_all = max(on_all, key=lambda row: row['mean_auroc'])
    hindsight = max(best['mean_auroc'], best_alone[0])
    sizes = np.array([file.stat().st_size for file in test], np.float64)
    by_size = {
        name: auroc(sizes, np.array([file.stat().st_size for file in files], np.float64))
        for name, files in ood.items()
    }
    return {
        # one that looks at the length of the file alone, the way round that is better
        'file_size_auroc': {name: max(area, 1.0 - area) for name, area in by_size.items()},
        'taken': taken_row,
        'all_taps': {row['density']: row for row in on_all},
        'best_in_hindsight': without_ood(best),
        'best_on_all_taps_in_hindsight': best_on_all['density'],
        'best_single_tap_in_hindsight': dict(
            zip(('mean_auroc', 'density', 'tap'), best_alone, strict=True)
        ),
        'regret': hindsight - taken_row['mean_auroc'],
        'regret_of_default': hindsight - candidates[0]['mean_auroc'],
        'candidates': [without_ood(row) for row in candidates],
        'each_tap_alone': alone,
    }


def without_ood(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row without the figures of each folder."""
    return {key: value for key, value in row.items() if key != 'ood'}


def main() -> None:
    """Measure, print, and write the file asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--data', type=Path, required=True, help='pictures to train on')
    parser.add_argument('--first', type=int, help='train on so many by name, test on the others')
    parser.add_argument('--test', type=Path, help='normal pictures to test on')
    parser.add_argument('--ood', type=Path, nargs='+', required=True)
    parser.add_argument('--split', default='block', choices=('block', 'sequence'))
    parser.add_argument('--repeats', type=int, default=20)
    parser.add_argument('--cache', type=Path)
    parser.add_argument('--json', type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    before = context()
    with tempfile.TemporaryDirectory() as scratch:
        data, test = args.data, [] if args.test is None else image_files(args.test)
        if args.first:
            files = sorted(image_files(args.data))
            data, test = Path(scratch) / 'fit.txt', files[args.first :]
            data.write_text('\n'.join(str(file.resolve()) for file in files[: args.first]))
        settings = TrainSettings(data=(data,), density='evidence', split=args.split, alpha=0.02)
        reader, every, choice, counts = fit(settings, Path(scratch), args.cache)
    ood = {folder.name: image_files(folder) for folder in args.ood}
    found = judge(every, choice, reader, test, ood)
    flows = {row.tap.name: row.record.step for row in taken(every, DEFAULT) if row.record.step}
    facts = {
        'pictures': {**counts, 'test': len(test), **{k: len(v) for k, v in ood.items()}},
        'split': args.split,
        'flows_trained': flows,
        **found,
        'cost': costs(reader, every, args.repeats),
        'context': {**before, 'torch': torch.__version__},
    }
    show(facts)
    if args.json:
        write_text(args.json, json.dumps(facts, indent=1, allow_nan=False) + '\n')


def show(facts: dict[str, Any]) -> None:
    """Print the tables."""
    rows = [('detector', 'pseudo', *next(iter(facts['all_taps'].values()))['ood'], 'cost', 'MiB')]
    chosen = {
        f'taken: {facts["taken"]["density"]} from {facts["taken"]["from_tap"]} on': facts['taken']
    }
    for name, row in {**facts['all_taps'], **chosen}.items():
        cost = facts['cost'].get(name, {})
        cells = [
            f'{m["auroc"]:.3f}, {m["fpr95_id_positive"]:.3f}, {m["fpr95_ood_positive"]:.3f}'
            for m in row['ood'].values()
        ]
        ratio_, size = (f'{cost[key]:.3f}' if cost else '' for key in ('ratio', 'scorer_mib'))
        rows.append((name, f'{row["auroc_near_pseudo_ood"]:.3f}', *cells, ratio_, size))
    size = facts['file_size_auroc']
    rows.append(('file size alone', '', *(f'{area:.3f}' for area in size.values()), '', ''))
    print(text_table(rows))
    best, alone = facts['best_in_hindsight'], facts['best_single_tap_in_hindsight']
    print(
        f'best candidate in hindsight: {best["density"]} from {best["from_tap"]} on, '
        f'{best["mean_auroc"]:.3f}; best single tap: {alone["density"]} on {alone["tap"]}, '
        f'{alone["mean_auroc"]:.3f}; regret {facts["regret"]:.3f}, '
        f'of the default {facts["regret_of_default"]:.3f}'
    )


if __name__ == '__main__':
    main()
