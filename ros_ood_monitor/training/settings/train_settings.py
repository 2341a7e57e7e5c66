"""Everything that decides what bundle a training gives, and what it may use on the way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
import re
from typing import Any, Final

from ros_ood_monitor.bundle.manifest import MOST_BITS
from ros_ood_monitor.calibration import frames_needed
from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.rates import hours_needed
from ros_ood_monitor.shards import RayCluster
from ros_ood_monitor.training.frames.selection import Selection
from ros_ood_monitor.training.frames.split import SPLITS
from ros_ood_monitor.training.precisions import check_precision, PRECISIONS
from ros_ood_monitor.training.settings.densities import (
    candidate_densities,
    check_map_density,
    check_normalization,
)
from ros_ood_monitor.training.settings.presets import FlowSettings
from ros_ood_monitor.training.settings.unmask_settings import UnmaskSettings

__all__ = ['DEVICES', 'MOST_TILES', 'PLACES', 'Resources', 'TrainSettings', 'parse_tiles']

DEVICES = ('auto', 'cpu', 'cuda')
"""Where features are extracted; ``auto`` takes a GPU if torch sees one."""

PLACES = ('data', 'wild')
"""Settings that name places on disk, and so are in no file."""


CORESET_SIZES: Final = (8, 32_768)
"""Fewest and most points that ``knn`` keeps, where their number is asked for."""

MOST_TILES: Final = 64
"""Parts of a frame at most: each costs as much as a whole frame does without tiles."""


def parse_tiles(text: str) -> tuple[int, int]:
    """
    Read how many parts a frame is seen in.

    Parameters
    ----------
    text : str
        Rows and columns, such as ``2x3``.

    Returns
    -------
    tuple of int
        Rows and columns.

    Raises
    ------
    TrainingError
        If it is no such text, or too many.

    """
    found = re.fullmatch(r'([1-9]\d{0,3})x([1-9]\d{0,3})', text)
    if found is None:
        msg = f"tiles must be rows and columns of at least 1: expected such as '2x3', got {text!r}"
        raise TrainingError(msg)
    rows, columns = int(found[1]), int(found[2])
    if rows * columns > MOST_TILES:
        msg = (
            f'too many tiles: expected at most {MOST_TILES}, got {text} = {rows * columns}; each '
            'costs as much time as a whole frame does without tiles'
        )
        raise TrainingError(msg)
    return rows, columns


@dataclass(frozen=True)
class TrainSettings:
    """
    Everything that decides what bundle comes out of given frames.

    Parameters
    ----------
    data : sequence of Path or str
        Folders of images, bags, lists of image files.
    wild : sequence of Path or str
        The same, of frames that nobody looked at; see `detectors.woods`.
    selection : Selection
        Which of all these frames are taken.
    near_duplicates : float
        Frames whose 16x16 grey thumbnail differs by less from any of the last 32 taken (root mean
        square, grey levels) are left out; 0 keeps all.
    backbone : str
        See `ros_ood_monitor.training.backbones.load_backbone`.
    weights : str or None
        A local file of weights instead of the backbone's own.
    taps : sequence of str, or 'all'
        Stages of the backbone to score.
    input_size : int, or None
        Height and width of the network's input, in px; the backbone's own where it is not given.
    tiles : str
        Rows and columns of parts that a frame is seen in, each as large as ``input_size``, such
        as ``2x3``.
    normalization : str
        How features are scaled before a density sees them; see `normalization`.
    density : str
        Detector of each tap, one of `DENSITIES`: ``auto`` chooses by a tap's width,
        ``evidence`` by pseudo-OOD; ``woods`` learns from the wild frames.
    flow : FlowSettings
        How flows are built and trained.
    unmask : UnmaskSettings
        Whether and how the frames' labels change the backbone.
    map : sequence of str, 'auto' or 'none'
        Stages of the backbone that the map is made of; see `map_features.map_taps`.
    map_density : str
        Detector of the map's cells, one of `MAP_DENSITIES`.
    coreset : int, or None
        Points that ``knn`` keeps, of a tap and of the map's cells; see `detectors.knn` where it
        is not given.
    alpha : float
        Share of held-out frames allowed over the trigger threshold.
    false_alerts_per_hour : float, or None
        Rate to set the alert for, where the held-out sequences can support it; it takes whole
        sequences with stamps, of one camera each.
    split : {'auto', 'sequence', 'block'}
        How frames are held out.
    precisions : sequence of str
        Precisions of the backbone that the bundle holds; the first one is the default.
    seed : int
        Of everything random; at least 0 and, as any whole number here, below 2**63.
    threads : int
        CPU threads of feature extraction and fitting.
    data_licence : str
        What the manifest says about the data.

    """

    data: Sequence[Path | str] = ()
    wild: Sequence[Path | str] = ()
    selection: Selection = field(default_factory=Selection)
    near_duplicates: float = 0.0
    backbone: str = 'efficientnet_lite0'
    weights: str | None = None
    taps: Sequence[str] | str = 'all'
    input_size: int | None = None
    tiles: str = '1x1'
    normalization: str = 'l2'
    density: str = 'auto'
    flow: FlowSettings = field(default_factory=FlowSettings)
    unmask: UnmaskSettings = field(default_factory=UnmaskSettings)
    map: Sequence[str] | str = 'auto'
    map_density: str = 'auto'
    coreset: int | None = None
    alpha: float = 0.01
    false_alerts_per_hour: float | None = None
    split: str = 'auto'
    precisions: Sequence[str] = ('fp32',)
    seed: int = 0
    threads: int = 1
    data_licence: str = 'not stated'

    def check(self) -> None:
        """
        Refuse settings outside their ranges before any work is done; nothing here loads torch.

        Raises
        ------
        TrainingError
            If a setting is outside its range.
        CalibrationError
            If alpha is.

        """
        frames_needed(self.alpha)
        if self.false_alerts_per_hour is not None:
            hours_needed(self.false_alerts_per_hour)
        self.flow.check()
        self.unmask.check()
        self.selection.check()
        self._check_precisions()
        self._check_coreset()
        parse_tiles(self.tiles)
        candidate_densities(self.density, 1)
        check_map_density(self.map_density)
        check_normalization(self.normalization)
        if self.density == 'woods' and not self.wild:
            msg = 'density woods learns from wild frames: expected some with --wild, got none'
            raise TrainingError(msg)
        if self.unmask.method != 'none' and self.unmask.part == 'head' and self.density != 'vim':
            msg = (
                "unmask.part head changes the classifier, which only density 'vim' reads: got "
                f'density {self.density!r}; take --density vim, or part block or all'
            )
            raise TrainingError(msg)
        if self.unmask.method != 'none' and parse_tiles(self.tiles) != (1, 1):
            msg = (
                f'unmask learns what a whole frame shows: expected no tiles, got {self.tiles!r}; '
                'leave out --unmask or --tiles'
            )
            raise TrainingError(msg)
        if self.map == 'none' and self.map_density != 'auto':
            msg = (
                f"map density is of a map: expected 'auto' where there is none, got "
                f'{self.map_density!r}; leave out --map none, or --map-density'
            )
            raise TrainingError(msg)
        if self.split not in SPLITS:
            msg = f'split is unknown: expected one of {list(SPLITS)}, got {self.split!r}'
            raise TrainingError(msg)
        for name, value, least in (
            ('threads', self.threads, 1),
            ('flow.steps', self.flow.steps, 0),
            ('seed', self.seed, 0),
            ('near_duplicates', self.near_duplicates, 0),
        ):
            if not value >= least:
                msg = f'{name} out of range: expected at least {least}, got {value}'
                raise TrainingError(msg)
        for name, value in _whole_numbers(self.card()):
            if value.bit_length() > MOST_BITS:
                bits = value.bit_length()  # the number itself may be too long to be printed
                msg = f'{name} out of range: expected below 2**{MOST_BITS}, got {bits} bits'
                raise TrainingError(msg)

    def _check_precisions(self) -> None:
        for name in self.precisions:
            check_precision(name)
        if not self.precisions:
            msg = f'no precision given: expected some of {", ".join(PRECISIONS)}'
            raise TrainingError(msg)

    def _check_coreset(self) -> None:
        least, most = CORESET_SIZES
        if self.coreset is not None and not least <= self.coreset <= most:
            msg = f'coreset out of range: expected {least} to {most} points, got {self.coreset}'
            raise TrainingError(msg)
        by_knn = self.density in ('knn', 'evidence') or self.map_density == 'knn'
        if self.coreset is not None and not by_knn:
            msg = (
                "coreset is of knn: expected density 'knn' or 'evidence', or map density 'knn', "
                f'got {self.density!r} and {self.map_density!r}; take --density knn or '
                '--map-density knn, or leave out --coreset'
            )
            raise TrainingError(msg)

    def card(self) -> dict[str, Any]:
        """
        Return the settings for the manifest; where the frames lie is not one of them.

        Returns
        -------
        dict
            Plain values only; `ros_ood_monitor.training.settings.config_file` reads them back.

        """
        facts = asdict(self)
        for place in PLACES:
            del facts[place]
        facts['flow'] = {'preset': facts['flow'].pop('name'), **facts['flow']}
        facts['weights'] = None if self.weights is None else Path(self.weights).name
        return {key: _plain(value) for key, value in facts.items()}


@dataclass(frozen=True)
class Resources:
    """
    What a training may use; none of it changes what comes out on one machine.

    Parameters
    ----------
    cache : Path or None
        Folder that keeps features for the next training; None keeps none.
    workers : int
        Threads beside the main one: they decode ahead, and fit stages side by side.
    device : {'auto', 'cpu', 'cuda'}
        Where features are extracted.
    executor : RayCluster or None
        Workers that compute the features of all frames, a sequence each, into ``cache``, which
        they see; None computes them here.

    """

    cache: Path | None = None
    workers: int = 0
    device: str = 'auto'
    executor: RayCluster | None = None

    def __post_init__(self) -> None:
        if self.executor is not None and self.cache is None:
            msg = 'features of workers go through a folder that all of them see: --cache'
            raise TrainingError(msg)


def _whole_numbers(card: Mapping[str, Any], where: str = '') -> Iterator[tuple[str, int]]:
    """Return the whole numbers of a card by their dotted names."""
    for key, value in card.items():
        if isinstance(value, Mapping):
            yield from _whole_numbers(value, f'{where}{key}.')
        elif isinstance(value, int):
            yield f'{where}{key}', value


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, tuple):
        return [_plain(inner) for inner in value]
    return value
