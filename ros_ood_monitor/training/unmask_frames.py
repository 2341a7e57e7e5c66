"""The user's labelled frames through Unleashing Mask: from a backbone to another one."""

from __future__ import annotations

from collections.abc import Mapping
import copy
from dataclasses import dataclass, replace
import hashlib
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import nn, Tensor

from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.metrics import auroc
from ros_ood_monitor.training.backbones import TorchBackbone
from ros_ood_monitor.training.backbones.base import Classifier
from ros_ood_monitor.training.class_scores import class_scores, ClassMeans
from ros_ood_monitor.training.classes import Classes, find_classes
from ros_ood_monitor.training.frame_reader import FrameReader
from ros_ood_monitor.training.pictures import Pictures
from ros_ood_monitor.training.progress import Progress
from ros_ood_monitor.training.rows import spread
from ros_ood_monitor.training.split import Split
from ros_ood_monitor.training.table import FeatureTable
from ros_ood_monitor.training.unmask import (
    constrain,
    Constraint,
    forget,
    Forgetting,
    Labelled,
    losses,
    Schedule,
    train_classifier,
)
from ros_ood_monitor.training.unmask_settings import UnmaskSettings

__all__ = ['Atypical', 'Unmasked', 'network_digest', 'unmask_backbone']

_BATCH: Final = 32  # pictures at a time through what is not trained
_ATYPICAL: Final = 24  # frames on the report's sheet at most
_JUDGED: Final = 64  # held-out frames, and pseudo-OOD pictures of all kinds, that scores are of

Images = npt.NDArray[np.uint8]
Aurocs = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, eq=False)
class Atypical:
    """
    A fitted frame that the network does not know with some of its weights dropped.

    Parameters
    ----------
    name : str
        Its file, below what ``--data`` names.
    image : ndarray of shape (h, w, 3), uint8
        Network input.
    label : str
        Its class.
    masked, plain : float
        Cross-entropy with some weights dropped, and with all, in nats.

    """

    name: str
    image: Images
    label: str
    masked: float
    plain: float


@dataclass(frozen=True, eq=False)
class Unmasked:
    """
    A backbone that learnt the user's classes and forgot the atypical frames, and what it took.

    Parameters
    ----------
    backbone : TorchBackbone
        What the bundle holds; with a classifier of these classes.
    settings : UnmaskSettings
        How.
    classes : tuple of str
        Their names.
    counts : tuple of int
        Frames it was fitted to, and held-out ones that tell the accuracy.
    constraint : Constraint
        Of the fitted frames.
    forgetting : Forgetting
        What followed.
    loss : float
        Mean cross-entropy of the fitted frames afterwards, in nats.
    accuracy : mapping of str to (float, float)
        Before and after, of the ``fit`` and of the ``held_out`` frames.
    before, after : mapping of str to mapping of str to float
        AUROC of every score of the classifier by kind of pseudo-OOD.
    atypical : list of Atypical
        Those that stand out, the largest masked loss first; 24 at most.

    """

    backbone: TorchBackbone
    settings: UnmaskSettings
    classes: tuple[str, ...]
    counts: tuple[int, int]
    constraint: Constraint
    forgetting: Forgetting
    loss: float
    accuracy: Mapping[str, tuple[float, float]]
    before: Aurocs
    after: Aurocs
    atypical: list[Atypical]

    def card(self) -> dict[str, Any]:
        """Return the facts for the manifest; plain values only."""
        kept = self.forgetting.kept
        weights = sum(count for _, count in kept.values())
        return {
            'method': self.settings.method,
            'part': self.settings.part,
            'classes': list(self.classes),
            'frames': {'fit': self.counts[0], 'held_out': self.counts[1]},
            'keep': self.settings.keep,
            'constraint': round(self.constraint.level, 6),
            'loss': {
                'before': round(float(self.constraint.plain.mean()), 6),
                'after': round(self.loss, 6),
            },
            'rising_steps': round(self.forgetting.rising, 4),
            'accuracy': {
                part: {'before': round(before, 4), 'after': round(after, 4)}
                for part, (before, after) in self.accuracy.items()
            },
            'auroc': {
                score: {
                    kind: {'before': round(area, 4), 'after': round(self.after[score][kind], 4)}
                    for kind, area in kinds.items()
                }
                for score, kinds in self.before.items()
            },
            **(
                {
                    'mask': {
                        'keep': self.settings.popup_keep,
                        'kept': sum(count for count, _ in kept.values()),
                        'weights': weights,
                        'layers': {name: list(counts) for name, counts in kept.items()},
                    }
                }
                if kept
                else {}
            ),
        }


def unmask_backbone(
    reader: FrameReader,
    table: FeatureTable,
    split: Split,
    *,
    progress: Progress,
) -> Unmasked:
    """
    Train a classifier on the fitted frames' labels, and make it forget the atypical ones.

    Parameters
    ----------
    reader : FrameReader
        Frames, and the backbone to start from, which stays as it is; its settings tell how.
    table : FeatureTable
        Its frames, with or without features.
    split : Split
        Only its fit part is learnt from; the rest tells how well.
    progress : Progress
        Told what takes the time.

    Returns
    -------
    Unmasked
        The new backbone, and the facts.

    Raises
    ------
    TrainingError
        If there are no labels, too few frames of a class, or nothing that can be trained; or if a
        loss is not finite, or the constraint no better than guessing.

    """
    settings, seed = reader.settings.unmask, reader.settings.seed
    classes = find_classes(reader.dataset)
    labels = classes.of(table.sequence)  # (n,)
    classes.check(labels[split.fit])
    network = _Network(reader, settings.part, len(classes.names))
    held = np.sort(np.concatenate([split.validation, split.calibration]))
    progress.note('reading labelled frames')
    images = {int(row): image for row, image in reader.pictures(table, _judged(held))}
    fit = Labelled(network.inputs(reader, table, split.fit), labels[split.fit])
    held_out = Labelled(network.inputs(reader, table, held), labels[held])
    # held-out frames only: a known picture stays known
    pseudo = Pictures.choose(table, split, seed=seed).pseudo
    probes = {
        kind: pictures[spread(len(pictures), max(1, _JUDGED // len(pseudo)))]
        for kind, pictures in pseudo.items()
    }
    judged = np.stack(list(images.values()))
    schedule = Schedule(
        settings.passes, settings.batch_size, settings.learning_rate, settings.weight_decay
    )
    with (
        network.learning(),
        progress.steps(total=settings.passes, name='classifier', unit='pass', of='loss') as show,
    ):
        train_classifier(network, fit, schedule, seed=seed, on_pass=show)
    right = {part: losses(network, data)[1] for part, data in _parts(fit, held_out)}
    before = network.aurocs(fit, judged, probes)
    constraint = constrain(network, fit, keep=settings.keep, seed=seed)
    constraint.check()
    by_mask = settings.method == 'umap'
    again = replace(
        schedule,
        passes=settings.forget_passes,
        learning_rate=settings.popup_learning_rate if by_mask else settings.learning_rate,
    )
    with (
        network.learning(),
        progress.steps(total=again.passes, name=settings.method, unit='pass', of='loss') as show,
    ):
        forgetting = forget(
            network,
            fit,
            again,
            level=constraint.level,
            seed=seed + 1,  # another mask than the one that was measured
            popup_keep=settings.popup_keep if by_mask else None,
            on_pass=show,
        )
    after = {part: losses(network, data) for part, data in _parts(fit, held_out)}
    return Unmasked(
        backbone=network.as_backbone(settings.method),
        settings=settings,
        classes=classes.names,
        counts=(len(fit), len(held_out)),
        constraint=constraint,
        forgetting=forgetting,
        loss=float(after['fit'][0].mean()),
        accuracy={part: (right[part], after[part][1]) for part in right},
        before=before,
        after=network.aurocs(fit, judged, probes),
        atypical=_atypical(reader, table, split, classes, constraint, labels),
    )


def network_digest(network: nn.Module) -> str:
    """Return the SHA-256 of all weights and buffers of a network, by name."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()


class _Network(nn.Module):
    """
    The part of a backbone that is trained, and a classifier behind it.

    Both are always in evaluation mode: the statistics of layers that normalise stay those of the
    pretrained weights, as a few frames give no better ones.
    """

    def __init__(self, reader: FrameReader, part: str, classes: int) -> None:
        super().__init__()
        backbone = reader.backbone
        if not isinstance(backbone, TorchBackbone):
            msg = (
                'unmask trains a network of torch: expected a packaged or torchvision backbone, '
                f'got {backbone.name!r}; take one of those'
            )
            raise TrainingError(msg)
        last, deepest = backbone.taps[-1], backbone.select(reader.settings.taps)[-1]
        reader.settings.unmask.check_deepest(deepest.name, last.name)
        self.part = part
        self.source = replace(backbone, network=copy.deepcopy(backbone.network))
        self.linear = nn.Linear(last.channels, classes)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.stage: nn.Module | None = None
        if part == 'all':
            self.stage = self.source.cut([last])
        elif part == 'block':
            self.stage = self.source.last_stage()
            if self.stage is None:
                msg = (
                    f'last stage of backbone {backbone.name!r} cannot be trained alone; take '
                    'unmask.part all or head'
                )
                raise TrainingError(msg)
            self.front = [self.source.cut([backbone.taps[-2]])]  # in a list: no part of this one
        else:
            self.front = [self.source.cut([last])]
        self.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> _Network:
        """Stay in evaluation mode."""
        del mode
        super().train(False)
        return self

    def learning(self) -> _Learning:
        """Return a context in which gradients are kept."""
        return _Learning(self)

    def pooled(self, inputs: Tensor) -> Tensor:
        """Return penultimate features (n, D) of what the trained part takes."""
        if self.stage is None:
            return inputs
        if inputs.dtype == torch.uint8:
            inputs = self.source.normalized(inputs)
        grid = self.stage(inputs)
        grid = grid if isinstance(grid, Tensor) else next(iter(grid))  # (n, D, gh, gw)
        features: Tensor = grid.mean(dim=(2, 3))
        return features

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (n, K) of what the trained part takes."""
        logits: Tensor = self.linear(self.pooled(inputs))
        return logits

    def before(self, pixels: Tensor) -> Tensor:
        """Return what the trained part takes, of normalised pixels (n, 3, h, w)."""
        if self.part == 'all':
            return pixels
        grid: Tensor = next(iter(self.front[0](pixels)))
        return grid if self.part == 'block' else grid.mean(dim=(2, 3))

    def inputs(
        self, reader: FrameReader, table: FeatureTable, rows: npt.NDArray[np.int64]
    ) -> npt.NDArray[Any]:
        """Return what the trained part takes, of some frames."""
        found, batch = [], []
        for _, image in reader.pictures(table, rows):
            batch.append(image)
            if len(batch) == _BATCH:
                found.append(self._prepared(batch))
                batch = []
        return np.concatenate([*found, *([self._prepared(batch)] if batch else [])])

    def _prepared(self, images: list[Images]) -> npt.NDArray[Any]:
        stacked = np.stack(images)
        if self.part == 'all':
            return stacked
        with torch.no_grad():
            return self.before(self.source.normalized(torch.from_numpy(stacked))).numpy()

    def aurocs(self, fit: Labelled, held_out: Images, probes: Mapping[str, Images]) -> Aurocs:
        """Return the AUROC of every score, by kind of pseudo-OOD."""
        with torch.no_grad():
            features = np.concatenate(
                [
                    self.pooled(torch.from_numpy(fit.inputs[start : start + _BATCH])).numpy()
                    for start in range(0, len(fit), _BATCH)
                ]
            )
        means = ClassMeans.fit(features, fit.labels)

        def score(images: Images) -> dict[str, npt.NDArray[np.float64]]:
            return class_scores(
                self.source.normalized(torch.from_numpy(images)),
                lambda pixels: self.pooled(self.before(pixels)),
                self.linear,
                means,
                batch=_BATCH,
            )

        known, strange = score(held_out), {kind: score(made) for kind, made in probes.items()}
        return {
            name: {kind: auroc(values, strange[kind][name]) for kind in strange}
            for name, values in known.items()
        }

    def as_backbone(self, method: str) -> TorchBackbone:
        """Return the backbone with these weights, and the classifier."""
        source = self.source
        weight, bias = self.linear.weight.detach(), self.linear.bias.detach()
        classifier = Classifier(weight.double().numpy(), bias.double().numpy())
        if self.part == 'head':  # the network is as it was
            return replace(source, classifier=classifier)
        part = 'whole' if self.part == 'all' else 'last stage'
        return replace(
            source,
            classifier=classifier,
            weights=f'{source.weights}, {part} trained on labels of the data ({method})',
            # of what the taps need: a classifier that came with the weights may be anything
            weights_sha256=network_digest(source.cut([source.taps[-1]])),
        )


class _Learning:
    """The trained part of a network keeps gradients for a while."""

    def __init__(self, network: _Network) -> None:
        self._network = network

    def __enter__(self) -> None:
        self._network.requires_grad_(True)

    def __exit__(self, *_: object) -> None:
        self._network.requires_grad_(False)


def _parts(fit: Labelled, held_out: Labelled) -> tuple[tuple[str, Labelled], ...]:
    return ('fit', fit), ('held_out', held_out)


def _judged(held: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return held[spread(len(held), _JUDGED)]


def _atypical(
    reader: FrameReader,
    table: FeatureTable,
    split: Split,
    classes: Classes,
    constraint: Constraint,
    labels: npt.NDArray[np.int64],
) -> list[Atypical]:
    order = constraint.atypical[:_ATYPICAL]
    rows = split.fit[order]
    images = dict(reader.pictures(table, np.sort(rows)))
    sequence, position = table.sequence, table.position

    def name(row: int) -> str:
        at = int(position[row])
        return next(reader.dataset.items(int(sequence[row]), at, only=[at])).name

    return [
        Atypical(
            name(row),
            images[int(row)],
            classes.names[labels[row]],
            float(constraint.losses[k]),
            float(constraint.plain[k]),
        )
        for row, k in zip(rows, order, strict=True)
    ]
