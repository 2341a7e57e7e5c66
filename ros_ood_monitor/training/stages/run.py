"""One run of a training: what all of its stages share."""

from __future__ import annotations

from dataclasses import dataclass, field

from ros_ood_monitor.training.features.table import FeatureTable
from ros_ood_monitor.training.fitting.fit_store import FitStore
from ros_ood_monitor.training.frames.datasets import Dataset
from ros_ood_monitor.training.frames.split import Split, split_frames
from ros_ood_monitor.training.progress import Progress
from ros_ood_monitor.training.settings.train_settings import Resources, TrainSettings
from ros_ood_monitor.training.stopwatch import Stopwatch

__all__ = ['Run']


@dataclass(frozen=True, eq=False)
class Run:
    """
    What decides the result, what it is computed with, and what tells of it.

    Parameters
    ----------
    settings : TrainSettings
        What decides the result.
    resources : Resources
        Cache, workers, device.
    progress : Progress
        What shows progress.
    watch : Stopwatch
        What sums the time of each part.

    """

    settings: TrainSettings
    resources: Resources
    progress: Progress
    watch: Stopwatch = field(default_factory=Stopwatch)

    def fits(self, data_sha256: str, backbone_sha256: str) -> FitStore | None:
        """
        Return where fitted flows are kept.

        Parameters
        ----------
        data_sha256, backbone_sha256 : str
            What the features depend on.

        Returns
        -------
        FitStore or None
            None where nothing is cached.

        """
        cache = self.resources.cache
        if cache is None:
            return None
        return FitStore(cache / 'fits', data=data_sha256, backbone=backbone_sha256)

    def split(self, table: FeatureTable, dataset: Dataset) -> Split:
        """
        Hold out frames as the settings say.

        Parameters
        ----------
        table : FeatureTable
            All frames.
        dataset : Dataset
            Where they come from.

        Returns
        -------
        Split
            The three parts.

        Raises
        ------
        TrainingError
            If there are too few frames or sequences.

        """
        return split_frames(
            table.sequence,
            rule=self.settings.split,
            alpha=self.settings.alpha,
            by_sequence=dataset.has_only_bags,
            seed=self.settings.seed,
        )
