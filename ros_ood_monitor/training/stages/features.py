"""The first stage: all frames through the backbone, and wild ones where there are any."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import contextlib
from dataclasses import dataclass, replace

from ros_ood_monitor.training.features.frame_reader import FrameReader
from ros_ood_monitor.training.features.open_reader import open_frames, open_reader
from ros_ood_monitor.training.features.table import FeatureTable
from ros_ood_monitor.training.frames.datasets import Dataset
from ros_ood_monitor.training.held_out.leaks import check_enough
from ros_ood_monitor.training.labels.unmask_frames import unmask_backbone
from ros_ood_monitor.training.labels.unmasked import Unmasked
from ros_ood_monitor.training.stages.run import Run
from ros_ood_monitor.training.wild.data import find_wild

__all__ = ['Features', 'WildFeatures', 'read_features']


@dataclass(frozen=True, eq=False)
class WildFeatures:
    """
    What the backbone makes of wild frames.

    Parameters
    ----------
    table : FeatureTable
        All of them.
    sequences : sequence of str
        Their names.

    """

    table: FeatureTable
    sequences: Sequence[str]


@dataclass(frozen=True, eq=False)
class Features:
    """
    What the backbone makes of the frames.

    Parameters
    ----------
    reader : FrameReader
        Frames and backbone.
    table : FeatureTable
        All frames.
    wild : WildFeatures or None
        Where there are wild ones.
    unmasked : Unmasked or None
        What the frames' labels did to the backbone, where it was asked for.

    """

    reader: FrameReader
    table: FeatureTable
    wild: WildFeatures | None = None
    unmasked: Unmasked | None = None


@contextlib.contextmanager
def read_features(run: Run, dataset: Dataset) -> Iterator[Features]:
    """
    Compute the features of all frames, or find them in the cache.

    Parameters
    ----------
    run : Run
        The training.
    dataset : Dataset
        Its frames.

    Yields
    ------
    Features
        Its tables are closed afterwards.

    Raises
    ------
    TrainingError
        If the backbone or the frames do not allow it.

    """
    unmasked: Unmasked | None = None
    if run.settings.unmask.method != 'none':
        with run.watch.part('unmask'):
            unmasked = _unmask(run, dataset)
    with run.watch.part('backbone'):
        reader = open_reader(
            dataset,
            run.settings,
            run.resources,
            run.progress,
            backbone=None if unmasked is None else unmasked.backbone,
        )
    with contextlib.ExitStack() as stack:
        with run.watch.part('extraction'):
            table = stack.enter_context(_read(run, reader, 'features'))
        wild, wild_dataset = None, find_wild(run.settings)
        if wild_dataset is not None:
            wild_reader = replace(reader, dataset=wild_dataset)
            with run.watch.part('wild features'):
                wild_table = stack.enter_context(_read(run, wild_reader, 'wild features'))
            wild = WildFeatures(wild_table, wild_dataset.sequences)
        yield Features(reader, table, wild, unmasked)


def _unmask(run: Run, dataset: Dataset) -> Unmasked:
    """Split frames as the fit does later, and teach the backbone their labels."""
    reader = open_frames(dataset, run.settings, run.resources)
    with _read(run, reader, 'labelled frames') as table:
        check_enough(table, dataset, run.settings)
        return unmask_backbone(reader, table, run.split(table, dataset), progress=run.progress)


@contextlib.contextmanager
def _read(run: Run, reader: FrameReader, name: str) -> Iterator[FeatureTable]:
    """Give all frames' features; the progress of reading them ends where the block begins."""
    with contextlib.ExitStack() as stack:
        expected = reader.dataset.counts.expected
        with run.progress.counted(expected, name, 'frame') as show:
            table = stack.enter_context(reader.all_frames(show))
        yield table
