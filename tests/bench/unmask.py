"""
Unleashing Mask against the stage of training, on labelled sets that train on one CPU thread.

Usage, in an environment with the extra ``train``; what made docs/unmask.md is there::

    python -m tests.bench.unmask --json $OUT/unmask.json --figure docs/images/unmask.png

Sets: handwritten digits that come with scikit-learn (six classes known, four near-OOD, far-OOD
crops of the photographs), once as they are and once with a fifth of the fitted labels wrong, by a
small convolutional network from scratch; and, with ``--photos DATA``, stylised photographs (ten
classes known, six near-OOD, line drawings and natural photographs far-OOD) by the last stage of
EfficientNet-Lite0. Each seed draws classes, parts, labels and batches anew. Nothing but the
fitted frames and their labels is used by ``um`` and ``umap``; the rows *in hindsight* look at the
OOD pictures, and are a bound, not a method.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
import copy
from dataclasses import asdict, dataclass
from itertools import pairwise, product
import json
from pathlib import Path
import time
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper
from sklearn.datasets import load_digits
import torch
from torch import nn, Tensor

from ros_ood_monitor.engines.ort_engine import open_session
from ros_ood_monitor.evaluation.speed.machine import context
from ros_ood_monitor.evaluation.speed.timing import interleave, ratio
from ros_ood_monitor.evaluation.tables import write_text
from ros_ood_monitor.images import image_files, read_image
from ros_ood_monitor.metrics import auroc, fpr95_id_positive, fpr95_ood_positive
from ros_ood_monitor.preprocess import Preprocessor
from ros_ood_monitor.training.backbones import load_backbone
from ros_ood_monitor.training.detectors.normalization import Normalization
from ros_ood_monitor.training.fitting.tap import fit_density
from ros_ood_monitor.training.labels.class_scores import class_scores, ClassMeans
from ros_ood_monitor.training.settings.presets import FlowSettings
from ros_ood_monitor.training.unmask.constraint import constrain
from ros_ood_monitor.training.unmask.descent import Labelled, losses, Schedule, train_classifier
from ros_ood_monitor.training.unmask.forgetting import forget
from tests.bench.tables import unmasked

Values = npt.NDArray[np.float32]

STAGES = (1, 2, 3, 4, 5, 7, 9, 12, 15, 18, 22, 26, 30, 35, 40)
LONG = (1, 2, 3, 4, 5, 7, 9, 12, 16, 20, 25, 30, 40, 55, 70, 85, 100)
MASKS = 25  # of which the first five give the constraint, as in a training
SETS = ('digits', 'digits, wrong labels', 'photographs')
WRONG = 0.2


@dataclass(frozen=True)
class Plan:
    """How one set is trained."""

    schedule: Schedule
    um: Schedule
    umap: Schedule
    stages: tuple[int, ...] = STAGES
    steps: int = 200  # of the flow
    hindsight: bool = True  # whether constraints are taken there, too


@dataclass(frozen=True, eq=False)
class Set:
    """Parts of one set: what a network takes, and labels."""

    fit: Labelled
    test: Labelled
    ood: dict[str, Values]  # the first one is near
    network: nn.Module
    wrong: npt.NDArray[np.int64]  # rows of the fit part with a wrong label


class Small(nn.Module):
    """Three convolutions and a linear layer, for (n, 1, 32, 32)."""

    def __init__(self, classes: int, width: int = 32) -> None:
        super().__init__()
        widths = (1, width, 2 * width, 4 * width)
        self.stages = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(a, b, 3, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU())
                for a, b in pairwise(widths)
            )
        )
        self.linear = nn.Linear(widths[-1], classes)

    def pooled(self, inputs: Tensor) -> Tensor:
        return self.stages(inputs).mean(dim=(2, 3))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.linear(self.pooled(inputs))


class LastStage(nn.Module):
    """The last stage of a pretrained network, with its statistics kept, and a linear layer."""

    def __init__(self, stage: nn.Module, width: int, classes: int) -> None:
        super().__init__()
        self.stages = copy.deepcopy(stage).requires_grad_(True)
        self.linear = nn.Linear(width, classes)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.eval()

    def train(self, mode: bool = True) -> LastStage:
        del mode
        super().train(False)
        return self

    def pooled(self, inputs: Tensor) -> Tensor:
        return self.stages(inputs).mean(dim=(2, 3))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.linear(self.pooled(inputs))


def drawn(
    inputs: Values, labels: npt.NDArray[np.int64], known: int, share: float, seed: int
) -> tuple[Labelled, Labelled, Values]:
    """Return the fit and the test part of some classes, and the pictures of the others."""
    rng = np.random.default_rng(seed)
    classes = rng.permutation(int(labels.max()) + 1)[:known]
    number = {int(label): k for k, label in enumerate(classes)}
    rows = rng.permutation(np.flatnonzero(np.isin(labels, classes)))
    cut = int(share * len(rows))
    fit, test = (
        Labelled(inputs[part], np.array([number[int(k)] for k in labels[part]]))
        for part in (rows[:cut], rows[cut:])
    )
    return fit, test, inputs[~np.isin(labels, classes)]


def digits(seed: int, wrong: float, data: Path | None) -> Set:
    raw = load_digits()
    grown = [cv2.resize(i, (32, 32), interpolation=cv2.INTER_CUBIC) for i in raw.images]
    inputs = (np.stack(grown).astype(np.float32) / 8.0 - 1.0)[:, None]
    fit, test, near = drawn(inputs, raw.target.astype(np.int64), 6, 0.6, seed)
    rng = np.random.default_rng(1000 + seed)
    rows = np.sort(rng.permutation(len(fit))[: int(wrong * len(fit))])
    fit.labels[rows] = (fit.labels[rows] + rng.integers(1, 6, len(rows))) % 6
    torch.manual_seed(seed)
    return Set(fit, test, {'near': near, **textures(data)}, Small(6), rows)


def textures(data: Path | None) -> dict[str, Values]:
    if data is None:
        return {}
    crops = []
    for file in image_files(data / 'stylised_images')[::4]:
        grey = cv2.cvtColor(read_image(file), cv2.COLOR_RGB2GRAY)
        crops.append(cv2.resize(grey[60:124, 60:124], (32, 32), interpolation=cv2.INTER_AREA))
    return {'texture': (np.stack(crops).astype(np.float32) / 127.5 - 1.0)[:, None]}


def photo_maps(data: Path, cache: Path | None) -> dict[str, npt.NDArray[Any]]:
    """Return what the last stage of EfficientNet-Lite0 takes, of all photographs."""
    if cache is not None and cache.is_file():
        return dict(np.load(cache))
    backbone: Any = load_backbone()
    front, resize = backbone.cut([backbone.taps[-2]]), Preprocessor(*backbone.input_size)

    def maps(files: list[Path]) -> Values:
        found = []
        for file in files:
            pixels = backbone.normalized(torch.from_numpy(resize(read_image(file))))
            with torch.no_grad():
                found.append(next(iter(front(pixels))).numpy())
        return np.concatenate(found)

    files = list(image_files(data / 'stylised_images'))
    names = sorted({file.parent.name for file in files})
    found = {
        'inputs': maps(files),
        'labels': np.array([names.index(file.parent.name) for file in files]),
        **{
            name: maps(list(image_files(data / name))[:160])
            for name in ('edges', 'filled_silhouettes', 'natural_images')
        },
    }
    if cache is not None:
        np.savez(cache, **found)
    return found


def photos(seed: int, found: dict[str, npt.NDArray[Any]]) -> Set:
    fit, test, near = drawn(found['inputs'], found['labels'], 10, 0.6, seed)
    backbone: Any = load_backbone()
    network = LastStage(backbone.last_stage(), backbone.taps[-1].channels, 10)
    far = {name: found[name] for name in found if name not in ('inputs', 'labels')}
    return Set(fit, test, {'near': near, **far}, network, np.empty(0, np.int64))


def batched(call: Callable[[Tensor], Tensor], inputs: Values) -> Values:
    with torch.no_grad():
        parts = [call(part) for part in torch.from_numpy(inputs).split(128)]
        return torch.cat(parts).numpy()


def quick(network: Any, one: Set) -> dict[str, Any]:
    """Return what a stage is judged by."""
    was = network.training
    network.eval()
    scores = [
        -torch.from_numpy(batched(network, inputs)).double().logsumexp(dim=1).numpy()
        for inputs in (one.test.inputs, *one.ood.values())
    ]
    facts = {
        'loss': float(losses(network, one.fit)[0].mean()),
        'accuracy': losses(network, one.test)[1],
        **{
            name: auroc(scores[0], strange)
            for name, strange in zip(one.ood, scores[1:], strict=True)
        },
    }
    network.train(was)
    return facts


def full(network: Any, one: Set, steps: int) -> dict[str, Any]:
    """Return AUROC and both FPR95 of every score and set, and the accuracy."""
    features = batched(network.pooled, one.fit.inputs)
    means = ClassMeans.fit(features, one.fit.labels)
    unit = Normalization('l2')
    cut = int(0.85 * len(features))
    flow, _ = fit_density(
        'flow',
        unit(features[:cut]),
        unit(features[cut:]),
        settings=FlowSettings.preset('default', steps=steps),
        seed=0,
    )

    def scores(inputs: Values) -> dict[str, npt.NDArray[np.float64]]:
        found = class_scores(
            torch.from_numpy(inputs), network.pooled, network.linear, means, batch=128
        )
        rows = torch.from_numpy(unit(batched(network.pooled, inputs))).double()
        with torch.no_grad():
            found['flow'] = flow.score(rows).numpy()
        return found

    known = scores(one.test.inputs)
    strange = {name: scores(inputs) for name, inputs in one.ood.items()}
    return {
        **quick(network, one),
        'scores': {
            score: {
                name: [
                    measure(known[score], strange[name][score])
                    for measure in (auroc, fpr95_id_positive, fpr95_ood_positive)
                ]
                for name in strange
            }
            for score in known
        },
    }


def run(one: Set, plan: Plan, seed: int) -> dict[str, Any]:
    """Train, forget, and judge."""
    network = one.network
    curve, kept = [], {}
    spent = 0.0

    def look(made: int, _: float) -> None:
        nonlocal spent
        if made in plan.stages or made == plan.schedule.passes:
            start = time.process_time()
            curve.append({'pass': made, **quick(network, one)})
            kept[made] = copy.deepcopy(network.state_dict())
            spent += time.process_time() - start

    start = time.process_time()
    train_classifier(network, one.fit, plan.schedule, seed=seed, on_pass=look)
    seconds = {'plain': time.process_time() - start - spent}
    rows = {'plain': full(network, one, plan.steps)}
    best = max(curve, key=lambda stage: stage['near'])
    early = copy.deepcopy(network)
    early.load_state_dict(kept[best['pass']])
    rows['best stage in hindsight'] = full(early.eval(), one, plan.steps)
    start = time.process_time()
    found = constrain(network, one.fit, keep=0.965, masks=5, seed=seed)
    seconds['constraint'] = time.process_time() - start
    levels = constrain(network, one.fit, keep=0.965, masks=MASKS, seed=seed).levels
    level = found.level
    for name, schedule, target, keep in (
        ('um', plan.um, level, None),
        ('umap', plan.umap, level, 0.8),
        ('um, constraint in hindsight', plan.um, max(best['loss'], 1e-4), None),
        ('umap, constraint in hindsight', plan.umap, max(best['loss'], 1e-4), 0.8),
    )[: 4 if plan.hindsight else 2]:
        changed = copy.deepcopy(network)
        start = time.process_time()
        came = forget(changed, one.fit, schedule, level=target, seed=seed + 5, popup_keep=keep)
        seconds[name] = time.process_time() - start
        rows[name] = {**full(changed, one, plan.steps), 'rising': came.rising}
        print(
            f'  {name}: near {rows[name]["near"]:.3f}, loss {rows[name]["loss"]:.3f}', flush=True
        )
    facts = {
        'seed': seed,
        'frames': [len(one.fit), len(one.test), *(len(x) for x in one.ood.values())],
        'curve': curve,
        'best_pass': best['pass'],
        'constraint': level,
        'masks': levels,
        'rows': rows,
        'cpu_seconds': seconds,
    }
    if len(one.wrong):
        count = len(one.wrong)
        facts['wrong_labels_found'] = {
            name: float(np.isin(np.argsort(-values)[:count], one.wrong).mean())
            for name, values in (('masked', found.losses), ('plain', found.plain))
        }
    return facts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--photos', type=Path, help='folder of stylised_images, edges and so on')
    parser.add_argument('--maps', type=Path, help='.npz that keeps the maps of the photographs')
    parser.add_argument('--sets', nargs='*', default=SETS, help='none: only tell and draw')
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2])
    parser.add_argument('--json', type=Path, required=True, help='other runs in it stay')
    parser.add_argument(
        '--onboard', nargs=2, type=Path, metavar='ONNX', help='a plain and a masked backbone'
    )
    parser.add_argument('--figure', type=Path, help='PNG of the curves')
    args = parser.parse_args()
    torch.set_num_threads(1)
    plan = Plan(Schedule(40, 64, 0.05), Schedule(12, 64, 0.01), Schedule(12, 64, 0.1))
    # passes, rate and decay of the paper, because wrong labels are learnt late
    paper = Plan(Schedule(100, 64, 0.1), Schedule(20, 64, 0.1), Schedule(20, 64, 0.1), LONG)
    tuned = Plan(
        Schedule(12, 32, 0.01),
        Schedule(4, 32, 0.01),
        Schedule(4, 32, 0.1),
        steps=40,
        hindsight=False,
    )
    if 'photographs' in args.sets:
        found = photo_maps(args.photos, args.maps)
    for name, seed in product(args.sets, args.seeds):
        print(f'{name}, seed {seed}', flush=True)
        if name == 'photographs':
            made = run(photos(seed, found), tuned, seed)
        elif name == 'digits':
            made = run(digits(seed, 0.0, args.photos), plan, seed)
        else:
            made = run(digits(seed, WRONG, args.photos), paper, seed)
        result = json.loads(args.json.read_text()) if args.json.is_file() else {'sets': {}}
        others = [one for one in result['sets'].get(name, ()) if one['seed'] != seed]
        result['sets'][name] = sorted([*others, made], key=lambda one: one['seed'])
        write_text(args.json, compact({**result, 'context': context()}) + '\n')
    result = json.loads(args.json.read_text())
    if args.onboard:
        result['onboard'] = onboard(*args.onboard)
        write_text(args.json, compact(result) + '\n')
    print(result.get('onboard', ''))
    for name, runs in result['sets'].items():
        print(f'\n{name}\n{unmasked(runs)}\n{remarks(runs)}')
    if args.figure is not None:
        draw(result['sets'], args.figure)


def compact(value: Any, depth: int = 0) -> str:
    """Return JSON with numbers of four digits, a stage or a row of a table on each line."""
    if isinstance(value, float):
        return json.dumps(float(f'{value:.4g}'))
    if not isinstance(value, dict | list):
        return json.dumps(value)
    pairs = value.items() if isinstance(value, dict) else ((None, one) for one in value)
    parts = [
        ('' if key is None else json.dumps(key) + ': ') + compact(one, depth + 1)
        for key, one in pairs
    ]
    start, end = '{}' if isinstance(value, dict) else '[]'
    held = value.values() if isinstance(value, dict) else value
    if depth > 4 or not any(isinstance(one, dict | list) for one in held):
        return start + ', '.join(parts) + end
    inner, outer = '\n' + ' ' * (depth + 1), '\n' + ' ' * depth
    return start + inner + f',{inner}'.join(parts) + outer + end


def onboard(plain: Path, masked: Path) -> dict[str, Any]:
    """Return size, operators and time of two graphs in the deployed runtime, in turns."""
    contenders: dict[str, Callable[[int], object]] = {}
    facts: dict[str, Any] = {}
    for name, file in (('plain', plain), ('masked', masked)):
        content = file.read_bytes()
        graph = onnx.load_from_string(content).graph
        zeros = sum(int((numpy_helper.to_array(one) == 0).sum()) for one in graph.initializer)
        facts[name] = {'bytes': len(content), 'operators': len(graph.node), 'zeros': zeros}
        session = open_session(content)
        side = graph.input[0].type.tensor_type.shape.dim[1].dim_value
        image = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), dtype=np.uint8)
        contenders[name] = lambda _, run=session.run, image=image: run(None, {'image': image})
    times = interleave(contenders, rounds=60, burst=5, warm_up=10)
    told = ratio(times['masked'], times['plain'])
    facts['masked_over_plain'] = asdict(told)
    facts['ms'] = {name: float(np.median(values)) for name, values in times.items()}
    return facts


def remarks(runs: list[dict[str, Any]]) -> str:
    """Return what the table of a set leaves out."""
    levels = [level for run in runs for level in run['masks']]
    lines = [
        f'best pass {[run["best_pass"] for run in runs]}; loss there '
        f'{[round(run["rows"]["best stage in hindsight"]["loss"], 3) for run in runs]}, plain '
        f'{[round(run["rows"]["plain"]["loss"], 4) for run in runs]}, um '
        f'{[round(run["rows"]["um"]["loss"], 4) for run in runs]}, umap '
        f'{[round(run["rows"]["umap"]["loss"], 4) for run in runs]}; '
        f'constraint {min(levels):.4f} to {max(levels):.4f}, used '
        f'{[round(run["constraint"], 4) for run in runs]}'
    ]
    found = [run['wrong_labels_found'] for run in runs if 'wrong_labels_found' in run]
    for way in ('masked', 'plain') if found else ():
        shares = [one[way] for one in found]
        lines.append(
            f'wrong labels among so many of the largest {way} loss: {np.mean(shares):.3f}'
        )
    return '\n'.join(lines)


def draw(sets: dict[str, list[dict[str, Any]]], file: Path) -> None:
    """Draw AUROC of near-OOD against the pass, each seed thin, their mean thick."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.0 * len(sets), 3.4), dpi=120, layout='constrained')
    FigureCanvasAgg(figure)
    cells = figure.subplots(1, len(sets), squeeze=False)[0]
    colours = {'um': '#D55E00', 'umap': '#009E73'}
    for axes, (name, runs) in zip(cells, sets.items(), strict=True):
        passes = [stage['pass'] for stage in runs[0]['curve']]
        curves = np.array([[stage['near'] for stage in run['curve']] for run in runs])
        axes.plot(passes, curves.T, color='#0072B2', lw=0.7, alpha=0.5)
        axes.plot(passes, curves.mean(axis=0), color='#0072B2', lw=2.2, label='training')
        for row, colour in colours.items():
            ends = [run['rows'][row]['near'] for run in runs]
            axes.plot([passes[-1] * 1.12] * len(ends), ends, 'o', color=colour, ms=4, alpha=0.6)
            axes.plot(passes[-1] * 1.12, np.mean(ends), '_', color=colour, ms=18, mew=2, label=row)
        axes.set(xscale='log', xlabel='pass', title=name)
        axes.grid(visible=True, color='0.9')
        axes.spines[['top', 'right']].set_visible(False)
    figure.axes[0].set_ylabel('AUROC of near-OOD, energy')
    figure.axes[0].legend(frameon=False)
    figure.savefig(file, metadata={'Software': None})


if __name__ == '__main__':
    main()
