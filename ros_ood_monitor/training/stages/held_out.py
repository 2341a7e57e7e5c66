"""What is held out of a fit, and the few pictures that a training keeps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.training.backbones import tiles_of
from ros_ood_monitor.training.frames.split import Split
from ros_ood_monitor.training.held_out.leaks import check_enough, check_leaks, Repetition
from ros_ood_monitor.training.held_out.pictures import Pictures
from ros_ood_monitor.training.stages.features import Features
from ros_ood_monitor.training.stages.run import Run

__all__ = ['HeldOut', 'hold_out']


@dataclass(frozen=True, eq=False)
class HeldOut:
    """
    Parts of the frames, and pictures that are no frames.

    Parameters
    ----------
    split : Split
        The three parts.
    repetition : Repetition
        How much of the data repeats itself.
    pictures : Pictures
        Kept network inputs, and pseudo-OOD.
    probes : ndarray of shape (m, width), float32
        Features of the pseudo-OOD pictures, kind after kind.

    """

    split: Split
    repetition: Repetition
    pictures: Pictures
    probes: npt.NDArray[np.float32]


def hold_out(run: Run, features: Features) -> HeldOut:
    """
    Hold frames out, and make pictures that are surely not the training condition.

    Parameters
    ----------
    run : Run
        The training.
    features : Features
        Of all frames.

    Returns
    -------
    HeldOut
        Equal arguments give equal parts and pictures.

    Raises
    ------
    TrainingError
        If too few frames differ, or the same ones are in several parts.

    """
    reader, table = features.reader, features.table
    check_enough(table, reader.dataset, run.settings)
    tiles_of(reader.backbone).check_frames(table.size)
    split = run.split(table, reader.dataset)
    repetition = check_leaks(table, split, reader.dataset.sequences)
    pictures = Pictures.choose(reader, table, split, seed=run.settings.seed)
    return HeldOut(split, repetition, pictures, reader.features(pictures.all_pseudo()))
