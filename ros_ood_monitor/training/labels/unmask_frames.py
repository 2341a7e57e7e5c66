"""The user's labelled frames through Unleashing Mask: from a backbone to another one."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.training.features.frame_reader import FrameReader
from ros_ood_monitor.training.features.table import FeatureTable
from ros_ood_monitor.training.frames.split import Split
from ros_ood_monitor.training.held_out.pictures import Pictures
from ros_ood_monitor.training.labels.classes import Classes, find_classes
from ros_ood_monitor.training.labels.labelled_network import LabelledNetwork
from ros_ood_monitor.training.labels.unmasked import Atypical, Unmasked
from ros_ood_monitor.training.progress import Progress
from ros_ood_monitor.training.rows import spread
from ros_ood_monitor.training.unmask.constraint import constrain, Constraint
from ros_ood_monitor.training.unmask.descent import Labelled, losses, Schedule, train_classifier
from ros_ood_monitor.training.unmask.forgetting import forget

__all__ = ['unmask_backbone']

_ATYPICAL: Final = 24  # frames on the report's sheet at most
_JUDGED: Final = 64  # held-out frames, and pseudo-OOD pictures of all kinds, that scores are of


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
    network = LabelledNetwork(reader, settings.part, len(classes.names))
    held = np.sort(np.concatenate([split.validation, split.calibration]))
    progress.note('reading labelled frames')
    images = {int(row): image for row, image in reader.pictures(table, _judged(held))}
    fit = Labelled(network.inputs(reader, table, split.fit), labels[split.fit])
    held_out = Labelled(network.inputs(reader, table, held), labels[held])
    # held-out frames only: a known picture stays known
    pseudo = Pictures.choose(reader, table, split, seed=seed).pseudo
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
    constraint = constrain(network, fit, keep=settings.keep, masks=settings.masks, seed=seed)
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
            seed=seed + settings.masks,  # another mask than those that were measured
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
