"""
Judge what wild frames teach (WOODS) on real pictures, beside flow and Gaussian.

Usage, in an environment with the extra ``train``; what made docs/detectors.md is there::

    python -m tests.bench.woods --data FIT --wild NORMAL --strange ODD --test OTHER --ood ...

The wild set is the normal pictures of ``--wild`` and so many of ``--strange`` that they are the
given share of all: shuffled, or with ``--split sequence`` in the folders they come from. All
but the wild set is equal for all rows: training frames, split, normalisation, and the share alpha
at which validation frames set each boundary. A folder may be followed by ``:START:STOP:STEP``,
which takes these of its files, sorted by name.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
import json
from pathlib import Path
import tempfile
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ros_ood_monitor.evaluation.speed.machine import context
from ros_ood_monitor.evaluation.tables import text_table, write_text
from ros_ood_monitor.images import image_files
from ros_ood_monitor.metrics import auroc, share_over
from ros_ood_monitor.training.detectors.woods import boundary
from ros_ood_monitor.training.features.frame_reader import FrameReader
from ros_ood_monitor.training.features.open_reader import open_reader
from ros_ood_monitor.training.fitting.choice import taken
from ros_ood_monitor.training.fitting.fitted_taps import FittedTap, sum_over_taps
from ros_ood_monitor.training.fitting.taps import fit_taps
from ros_ood_monitor.training.frames.datasets import Dataset
from ros_ood_monitor.training.frames.split import split_frames
from ros_ood_monitor.training.held_out.pictures import Pictures
from ros_ood_monitor.training.preflight import preflight
from ros_ood_monitor.training.progress import Progress
from ros_ood_monitor.training.settings.train_settings import Resources, TrainSettings
from ros_ood_monitor.training.wild.fit import fit_wild
from ros_ood_monitor.training.wild.fitted_wild import FittedWild
from tests.bench.detectors import features, measures

Features = npt.NDArray[np.float32]
QUIET = Progress(quiet=True)


def chosen(text: str) -> list[Path]:
    """Return the files of a folder, or those that a slice behind it takes."""
    folder, *places = text.split(':')
    part = slice(*(int(place) if place else None for place in places)) if places else slice(None)
    return sorted(image_files(Path(folder)))[part]


def in_one_folder(folder: Path, files: list[Path]) -> Path:
    """Link files shuffled under running names: one sequence; return the folder."""
    folder.mkdir()
    for number, k in enumerate(np.random.default_rng(0).permutation(len(files))):
        (folder / f'{number:05d}{files[k].suffix}').symlink_to(files[k].resolve())
    return folder


def as_recorded(folder: Path, files: list[Path]) -> Path:
    """Link files into folders named as theirs, which are their sequences, and return the root."""
    for file in files:
        place = folder / f'{file.parent.parent.name}_{file.parent.name}'
        place.mkdir(parents=True, exist_ok=True)
        (place / file.name).symlink_to(file.resolve())
    return folder


def mixture(normal: list[Path], strange: list[Path], share: float) -> list[Path]:
    """Return all normal files, and so many strange ones that they are that share."""
    count = round(len(normal) * share / (1.0 - share))
    if count > len(strange):
        msg = f'too few strange pictures: expected {count} for {share:g}, got {len(strange)}'
        raise SystemExit(msg)
    return [*normal, *(strange[k * len(strange) // max(count, 1)] for k in range(count))]


def rows_of(
    name: str, fitted: list[FittedTap], validation: Features, test: Features, far: Any, table: Any
) -> dict[str, Any]:
    """Return what a detector reaches, and what it flags at its boundary."""

    def score(rows: Features) -> npt.NDArray[np.float64]:
        every = np.arange(len(rows), dtype=np.int64)
        return sum_over_taps(fitted, rows, every, table.columns)

    limit, near = boundary(score(validation), table.alpha), score(test)
    return {
        'detector': name,
        'test_over_boundary': share_over(near, limit),
        'ood': {
            kind: {**measures(near, score(z)), 'over_boundary': share_over(score(z), limit)}
            for kind, z in far.items()
        },
    }


class Columns:
    """Where the features of taps lie, and the share alpha: all that scoring needs of a table."""

    def __init__(self, table: Any, alpha: float) -> None:
        self.columns, self.alpha = table.columns, alpha


def judge(args: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Fit all, and return the figures."""
    fit, normal, strange, test = map(chosen, (args.data, args.wild, args.strange, args.test))
    ood = {name: chosen(place) for name, _, place in (text.partition('=') for text in args.ood)}
    whole = args.split == 'sequence'
    data = Path(args.data) if whole else in_one_folder(scratch / 'fit', fit)
    settings = TrainSettings(
        data=(data,), split=args.split, alpha=args.alpha, map='none', density='auto'
    )
    resources = Resources(cache=args.cache, device='cpu')
    reader = open_reader(preflight(settings, scratch / 'b'), settings, resources, QUIET)
    far = {name: features(reader, files) for name, files in ood.items()}
    near = features(reader, test)
    with reader.all_frames(lambda _: None) as table:
        split = split_frames(
            table.sequence, rule=args.split, alpha=args.alpha, by_sequence=False, seed=0
        )
        pictures = Pictures.choose(table, split, seed=0)
        probes = reader.features(pictures.all_pseudo())

        def fitted(density: str) -> Any:
            return fit_taps(
                table, split, replace(settings, density=density),
                probes=probes, store=None, facts={}, progress=QUIET,
            )  # fmt: skip

        columns = Columns(table, args.alpha)
        width = sum(tap.channels for tap in table.taps)
        validation = table[split.validation, slice(0, width)]
        every = {density: fitted(density) for density in ('auto', 'mahalanobis')}
        rows = [
            rows_of(name, taken(one, name), validation, near, far, columns)
            for name, one in every.items()
        ]
        for share in args.shares:
            files = mixture(normal, strange, share)
            place = scratch / f'wild_{share:g}'
            folder = as_recorded(place, files) if whole else in_one_folder(place, files)
            wild = learn(reader, folder, every['auto'], table, split, pictures, probes, settings)
            row = rows_of('woods', wild.fitted, validation, near, far, columns)
            rows.append({**row, **told(wild, share, len(files) - len(normal))})
    sizes = [float(file.stat().st_size) for file in test]
    by_size = {
        name: auroc(np.array(sizes), np.array([float(file.stat().st_size) for file in files]))
        for name, files in ood.items()
    }
    return {
        'pictures': {
            **{part: len(getattr(split, part)) for part in ('fit', 'validation', 'calibration')},
            'wild_normal': len(normal), 'test': len(test),
            **{name: len(files) for name, files in ood.items()},
        },
        'alpha': args.alpha,
        'split': split.rule,
        'rows': rows,
        # one that looks at the length of the file alone, the way round that is better
        'file_size_auroc': {name: max(area, 1.0 - area) for name, area in by_size.items()},
    }  # fmt: skip


def learn(
    reader: FrameReader, folder: Path, every: Any, table: Any, split: Any, pictures: Any,
    probes: Features, settings: TrainSettings,
) -> FittedWild:  # fmt: skip
    """Fit the head to the wild frames in a folder."""
    dataset = Dataset([folder])
    with replace(reader, dataset=dataset).all_frames(lambda _: None) as wild:
        return fit_wild(
            every, taken(every, 'auto'), table, split, wild, dataset.sequences,
            pictures.pseudo_rows(probes), settings,
        )  # fmt: skip


def told(wild: FittedWild, share: float, strange: int) -> dict[str, Any]:
    """Return what a training would tell of it."""
    return {
        'wild_share': share,
        'wild_split': wild.split,
        'wild_strange': strange,
        'decay': wild.woods.decay,
        'calibration_over': list(wild.head.known),
        'wild_over': list(wild.head.wild),
        'wild_over_auto': list(wild.beside.wild),
        'constraint_holds': wild.holds,
        'has_learnt': wild.has_learnt,
        'seconds': wild.seconds,
    }


def main() -> None:
    """Measure, print, and write the file asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    for flag, text in (
        ('--data', 'pictures to train on'),
        ('--wild', 'normal pictures of the wild set'),
        ('--strange', 'strange pictures of the wild set'),
        ('--test', 'normal pictures to test on'),
    ):
        parser.add_argument(flag, required=True, help=text)
    parser.add_argument('--ood', nargs='+', required=True, metavar='NAME=FOLDER')
    parser.add_argument('--shares', type=float, nargs='+', default=[0.0, 0.05, 0.2, 0.5])
    parser.add_argument('--split', default='block', choices=('block', 'sequence'))
    parser.add_argument('--alpha', type=float, default=0.02)
    parser.add_argument('--cache', type=Path)
    parser.add_argument('--json', type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    before = context()
    with tempfile.TemporaryDirectory() as scratch:
        facts = judge(args, Path(scratch))
    facts['context'] = {**before, 'torch': torch.__version__}
    show(facts)
    if args.json:
        write_text(args.json, json.dumps(facts, indent=1, allow_nan=False) + '\n')


def show(facts: dict[str, Any]) -> None:
    """Print the table."""
    lines = [('detector', 'wild', 'normal over', *facts['rows'][0]['ood'])]
    for row in facts['rows']:
        strange = f'{row["wild_share"]:.0%} strange' if 'wild_share' in row else ''
        cells = [
            f'{m["auroc"]:.3f}, {m["fpr95_id_positive"]:.3f}, {m["fpr95_ood_positive"]:.3f}; '
            f'{m["over_boundary"]:.2f}'
            for m in row['ood'].values()
        ]
        lines.append((row['detector'], strange, f'{row["test_over_boundary"]:.3f}', *cells))
    size = facts['file_size_auroc']
    lines.append(('file size alone', '', '', *(f'{area:.3f}' for area in size.values())))
    print(text_table(lines))
    for row in facts['rows']:
        if 'wild_share' in row:
            print({key: value for key, value in row.items() if key != 'ood'})


if __name__ == '__main__':
    main()
