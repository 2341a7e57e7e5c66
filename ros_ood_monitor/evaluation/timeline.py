"""Score over time as a picture: one row a camera, threshold, alerts shaded."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
import math
from pathlib import Path
from typing import Any, Final

import numpy as np

from ros_ood_monitor.alerting import Episode
from ros_ood_monitor.atomic import check_output, new_file
from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.packages import import_problem
from ros_ood_monitor.records import Observation

__all__ = ['PLOT_SUFFIXES', 'Timeline', 'check_plot']

PLOT_SUFFIXES: Final = ('.png', '.svg', '.pdf')
# Okabe and Ito's colours, which stay apart with every kind of colour vision
_SCORE, _THRESHOLD, _ALERT = '#0072B2', '#D55E00', '#E69F00'
_MAX_GAP_S: Final = 2.0  # the line breaks where no frame came for longer
_LOG_FROM: Final = 50.0  # an anomaly this many thresholds high would flatten the rest


class Timeline:
    """
    Keeps what a plot needs of each observation (16 bytes a frame), and draws it.

    Parameters
    ----------
    unit : str
        Unit of raw_score, as the bundle's manifest names it.
    title : str
        Line over the picture.
    origin : float, default 0.0
        Stamp from which its times count, in s.

    """

    def __init__(self, *, unit: str = '', title: str = '', origin: float = 0.0) -> None:
        self._unit = unit
        self._title = title
        self._origin = origin
        self._stamps: dict[str, array[float]] = {}
        self._scores: dict[str, array[float]] = {}
        self._thresholds: dict[str, float] = {}

    def follow(self, observations: Iterable[Observation]) -> Iterator[Observation]:
        """
        Pass observations on and keep what the plot needs.

        Parameters
        ----------
        observations : iterable of Observation
            In the order of each camera.

        Yields
        ------
        Observation
            The same.

        """
        for observation in observations:
            camera = observation.camera
            self._stamps.setdefault(camera, array('d')).append(observation.stamp)
            self._scores.setdefault(camera, array('d')).append(observation.raw_score)
            self._thresholds[camera] = observation.threshold
            yield observation

    def save(self, path: Path | str, episodes: Sequence[Episode] = ()) -> None:
        """
        Draw the picture into a file, written aside and renamed.

        Parameters
        ----------
        path : Path or str
            File to make; see ``PLOT_SUFFIXES``.
        episodes : sequence of Episode
            Alerts to shade.

        Raises
        ------
        ParameterError
            If there is nothing to draw, the suffix is unknown, the file cannot be written, or
            matplotlib cannot be imported.

        """
        path = check_plot(path)
        if not self._stamps:
            msg = f'nothing to draw: expected at least one observation, got none: {path}'
            raise ParameterError(msg)
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        count = len(self._stamps)
        figure = Figure(figsize=(10, 1.2 + 2.8 * count), dpi=120, layout='constrained')
        FigureCanvasAgg(figure)  # draws without a display, whatever the user's settings say
        rows = figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0]
        for axes, camera in zip(rows, self._stamps, strict=True):
            mine = [e for e in episodes if e.camera == camera]
            self._draw(axes, camera, mine)
        rows[-1].set_xlabel(f'image stamp - {self._origin:.3f} s  [s]')
        if self._title:
            figure.suptitle(self._title, fontsize=11)
        try:
            with new_file(path) as aside:
                figure.savefig(aside)
        except OSError as error:
            msg = f'cannot write file: {error.strerror or error}; nothing is left of it: {path}'
            raise ParameterError(msg) from error

    def _draw(self, axes: Any, camera: str, episodes: list[Episode]) -> None:
        stamps = np.asarray(self._stamps[camera]) - self._origin  # (n,)
        scores = np.asarray(self._scores[camera])  # (n,)
        threshold = self._thresholds[camera]
        period = float(np.median(np.diff(stamps))) if stamps.size > 1 else 0.0
        # a slow camera has long periods, which are no gaps
        breaks = np.flatnonzero(np.abs(np.diff(stamps)) > max(_MAX_GAP_S, 3.0 * period)) + 1
        x = np.insert(stamps, breaks, np.nan)  # (n + gaps,)
        y = np.insert(scores, breaks, np.nan)  # (n + gaps,)
        for k, episode in enumerate(episodes):
            # at least one frame wide, so that the shortest alert is seen
            start = episode.start - self._origin
            end = max(episode.end - self._origin, start + period)
            label = 'alert' if k == 0 else None
            axes.axvspan(start, end, color=_ALERT, alpha=0.35, lw=0, label=label)
        dots, width = ('.' if stamps.size <= 200 else ''), (1.2 if stamps.size <= 1000 else 0.7)
        axes.plot(x, y, color=_SCORE, lw=width, marker=dots, markersize=4, label='raw_score')
        axes.axhline(
            threshold, color=_THRESHOLD, ls='--', lw=1.4, label=f'threshold {threshold:.4g}'
        )
        answers = scores[np.isfinite(scores)]  # at most (n,)
        low, high = (float(of(answers, initial=threshold)) for of in (np.min, np.max))
        reach = 0.06 * (high - low) or 1.0
        if threshold > 0.0 and high > _LOG_FROM * threshold:
            # linear up to the power of ten over the threshold, which keeps the ticks apart
            axes.set_yscale('symlog', linthresh=10.0 ** math.ceil(math.log10(threshold)))
            axes.set_ylim(min(low, 0.0), 2.0 * high)
        else:
            axes.set_ylim(low - reach, high + reach)
        unit = f'\n[{self._unit}]' if self._unit else ''
        axes.set_ylabel(f'raw_score{unit}')
        if camera:
            axes.set_title(camera, loc='left', fontsize=10)
        axes.grid(visible=True, color='0.9', lw=0.6)
        axes.set_axisbelow(True)
        axes.spines[['top', 'right']].set_visible(False)
        axes.margins(x=0.01)
        axes.legend(loc='center left', bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=9)


def check_plot(path: Path | str) -> Path:
    """
    Refuse a picture that `Timeline.save` could not write, before anything is computed for it.

    Parameters
    ----------
    path : Path or str
        The file to be.

    Returns
    -------
    Path
        The same path.

    Raises
    ------
    ParameterError
        If its suffix is unknown or matplotlib cannot be imported.

    """
    path = check_output(path, PLOT_SUFFIXES)
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        msg = f'drawing needs {import_problem(error)}: {path}'
        raise ParameterError(msg) from error
    return path
