"""
ViM, and MODE's cross-scale decision, beside detectors of the same features.

Usage, in an environment with the extra ``train``; what made docs/detectors.md is there::

    python -m tests.bench.vim_and_csd --data FIT --most 500 --test NORMAL --ood ODD ... --json FILE

The cross-scale decision (Zhang et al. 2023, arXiv:2308.10239) pools six views of a tap's grid: its
quarters, its centre, and all of it, each to unit length. All views of all fitted frames are one
index, and a frame's score is the least, over its views, of the distance to the tenth neighbour;
the mean and the largest are shown beside it, and the tenth neighbour of the whole view alone.
Every eighth frame is held out: for alpha of ViM, and to standardise what is summed over taps.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
import json
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from ros_ood_monitor.evaluation.speed.machine import context
from ros_ood_monitor.evaluation.tables import text_table, write_text
from ros_ood_monitor.images import image_files, read_image
from ros_ood_monitor.metrics import auroc, auroc_interval
from ros_ood_monitor.preprocess import Preprocessor
from ros_ood_monitor.training.backbones import Backbone, load_backbone
from ros_ood_monitor.training.detectors import fit_closed_form, vim
from ros_ood_monitor.training.detectors.normalization import Normalization
from ros_ood_monitor.training.fitting.fitted_taps import scores
from ros_ood_monitor.training.settings.densities import CLOSED_FORMS

Scores: TypeAlias = npt.NDArray[np.float64]
Views: TypeAlias = dict[str, npt.NDArray[np.float32]]
"""By tap, (n, 6, D): the whole grid first."""

NEIGHBOUR = 10
WHOLE = 0


def views(grid: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return what is pooled of grids (n, gh, gw, D): six views of each, (n, 6, D)."""
    rows, columns = grid.shape[1:3]
    top, left = rows // 2, columns // 2
    bottom, right = rows - top, columns - left
    parts = [
        grid,
        grid[:, :bottom, :right],
        grid[:, :bottom, left:],
        grid[:, top:, :right],
        grid[:, top:, left:],
        grid[:, rows // 4 : rows - rows // 4, columns // 4 : columns - columns // 4],
    ]
    return np.stack([part.mean(axis=(1, 2)) for part in parts], axis=1)


def features(backbone: Backbone, files: Sequence[Path]) -> Views:
    """Return the views of all taps."""
    preprocess = Preprocessor(*backbone.input_size)
    found: dict[str, list[npt.NDArray[np.float32]]] = {tap.name: [] for tap in backbone.taps}
    for start in range(0, len(files), 16):
        images = np.concatenate([preprocess(read_image(f)) for f in files[start : start + 16]])
        grids = backbone.features((), images, backbone.taps)
        for tap, grid in zip(backbone.taps, grids, strict=True):
            found[tap.name].append(views(grid))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def to_neighbour(rows: npt.NDArray[np.float32], index: npt.NDArray[np.float32]) -> Scores:
    """Return distances of rows of unit length to their tenth neighbours."""
    squared = 2.0 - 2.0 * rows @ index.T  # (n, m)
    nearest = np.partition(squared, NEIGHBOUR - 1, axis=1)[:, NEIGHBOUR - 1]
    return np.sqrt(np.maximum(nearest, 0.0)).astype(np.float64)


class Judge:
    """
    Everything that is compared, as functions of views.

    Parameters
    ----------
    backbone : Backbone
        With a classifier.
    fit, held_out : Views
        Of normal frames.

    """

    def __init__(self, backbone: Backbone, fit: Views, held_out: Views) -> None:
        self.taps = [tap.name for tap in backbone.taps]
        self.fit, self.held_out = fit, held_out
        assert backbone.classifier is not None
        self.vim = vim.fit(
            fit[self.taps[-1]][:, WHOLE], held_out[self.taps[-1]][:, WHOLE], backbone.classifier
        )

    def of_vim(self, seen: Views) -> Scores:
        """Return scores by ViM."""
        return scores(self.vim.detector, seen[self.taps[-1]][:, WHOLE])

    def closed_form(self, kind: str, tap: str) -> Callable[[Views], Scores]:
        """Return a detector of the library."""
        unit = Normalization()
        detector = fit_closed_form(kind, unit(self.fit[tap][:, WHOLE])).detector
        return lambda seen: scores(detector, unit(seen[tap][:, WHOLE]))

    def neighbours(self, tap: str, which: Callable[[Scores], Scores]) -> Callable[[Views], Scores]:
        """Return the cross-scale decision with another rule than the least."""
        index = _unit(self.fit[tap]).reshape(-1, self.fit[tap].shape[2])

        def score(seen: Views) -> Scores:
            rows = _unit(seen[tap])  # (n, 6, D)
            each = [to_neighbour(rows[:, k], index) for k in range(rows.shape[1])]
            return which(np.stack(each, axis=1))

        return score

    def whole_neighbour(self, tap: str) -> Callable[[Views], Scores]:
        """Return the distance to the tenth neighbour of the whole view alone."""
        index = _unit(self.fit[tap][:, WHOLE])
        return lambda seen: to_neighbour(_unit(seen[tap][:, WHOLE]), index)

    def summed(self, every: Sequence[Callable[[Views], Scores]]) -> Callable[[Views], Scores]:
        """Return the sum of standardised scores."""
        standard = [one(self.held_out) for one in every]

        def score(seen: Views) -> Scores:
            parts = [
                (one(seen) - held.mean()) / held.std()
                for one, held in zip(every, standard, strict=True)
            ]
            return np.sum(parts, axis=0)

        return score

    def rows(self) -> dict[str, Callable[[Views], Scores]]:
        """Return what is compared, by name."""
        head, deep = self.taps[-1], self.taps[5]
        found: dict[str, Callable[[Views], Scores]] = {}
        for kind in ('mahalanobis', 'pca_residual'):
            assert kind in CLOSED_FORMS
            found[f'{kind}, all taps'] = self.summed(
                [self.closed_form(kind, tap) for tap in self.taps]
            )
            found[f'{kind}, {head}'] = self.closed_form(kind, head)
        found[f'vim, {head}'] = self.of_vim
        found[f'vim on {head}, mahalanobis on the others'] = self.summed(
            [*(self.closed_form('mahalanobis', tap) for tap in self.taps[:-1]), self.of_vim]
        )
        rules: dict[str, Callable[[Scores], Scores]] = {
            'least of 6 views (MODE)': lambda each: each.min(axis=1),
            'mean of 6 views': lambda each: each.mean(axis=1),
            'largest of 6 views': lambda each: each.max(axis=1),
        }
        for tap in (head, deep):
            found[f'10th neighbour, {tap}'] = self.whole_neighbour(tap)
            for name, rule in rules.items():
                found[f'{name}, {tap}'] = self.neighbours(tap, rule)
        found['10th neighbour, all taps'] = self.summed(
            [self.whole_neighbour(tap) for tap in self.taps]
        )
        least = rules['least of 6 views (MODE)']
        found['least of 6 views (MODE), all taps'] = self.summed(
            [self.neighbours(tap, least) for tap in self.taps]
        )
        return found


def _unit(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    length = np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)
    return (rows / length).astype(np.float32)


def main() -> None:
    """Measure, print, and write the file asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--data', type=Path, required=True, help='normal pictures to fit to')
    parser.add_argument('--most', type=int, default=500, help='so many of them, evenly')
    parser.add_argument('--test', type=Path, required=True, help='normal pictures to test on')
    parser.add_argument('--ood', type=Path, nargs='+', required=True)
    parser.add_argument('--every-ood', type=int, default=1)
    parser.add_argument('--backbone', default='efficientnet_lite0')
    parser.add_argument('--json', type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    before = context()
    backbone = load_backbone(args.backbone)
    given = image_files(args.data)
    count = min(args.most, len(given))
    files = [given[k] for k in np.linspace(0, len(given) - 1, count).astype(int)]
    every = features(backbone, files)
    out = np.arange(count) % 8 == 0
    judge = Judge(
        backbone,
        {tap: rows[~out] for tap, rows in every.items()},
        {tap: rows[out] for tap, rows in every.items()},
    )
    normal = features(backbone, image_files(args.test))
    strange = {
        folder.name: features(backbone, image_files(folder)[:: args.every_ood])
        for folder in args.ood
    }
    found: dict[str, Any] = {}
    for name, score in judge.rows().items():
        near = score(normal)
        found[name] = {}
        for folder, seen in strange.items():
            far = score(seen)
            found[name][folder] = {
                'auroc': auroc(near, far),
                'auroc_95': list(auroc_interval(near, far, seed=0)),
            }
        print(name, {key: round(row['auroc'], 3) for key, row in found[name].items()}, flush=True)
    head = judge.taps[-1]
    facts = {
        'pictures': {
            'fit': int((~out).sum()),
            'held_out': int(out.sum()),
            'test': len(normal[head]),
            **{folder: len(seen[head]) for folder, seen in strange.items()},
        },
        'vim': judge.vim.facts,
        'auroc': found,
        'context': {**before, 'torch': torch.__version__},
    }
    columns = list(strange)
    rows = [
        (name, *(f'{row[key]["auroc"]:.3f}' for key in columns)) for name, row in found.items()
    ]
    print(text_table([('score', *columns), *rows]))
    if args.json:
        write_text(args.json, json.dumps(facts, indent=1, allow_nan=False) + '\n')


if __name__ == '__main__':
    main()
