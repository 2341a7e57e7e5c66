"""What ``ood_monitor replay`` says: facts of the bag, alerts as they come, a summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
import math
import time

from ros_ood_monitor.alerting import Episode, EpisodeLog
from ros_ood_monitor.bags import BagReader, SkippedFrame
from ros_ood_monitor.cli.console import Console
from ros_ood_monitor.cli.wording import count
from ros_ood_monitor.monitor import Monitor
from ros_ood_monitor.pace import Pace
from ros_ood_monitor.records import NO_ANSWER, Observation, State

__all__ = ['Watch', 'facts', 'paced']

_NAMED = 3  # skipped frames that the summary names


def facts(bag: BagReader, topics: Sequence[str]) -> list[str]:
    """
    Describe a bag.

    Parameters
    ----------
    bag : BagReader
        The bag.
    topics : sequence of str
        Topics that are going to be scored.

    Returns
    -------
    list of str
        Lines.

    """
    lines = [f'bag       {bag.path}', f'duration  {bag.duration:.3f} s']
    for topic in bag.topics():
        mark = 'scored   ' if topic.name in topics else 'not used '
        lines.append(f'{mark} {topic.name}  {topic.type}  {count(topic.count, "message")}')
    # their names stand in the warnings, which come in any case
    for word, names in (('missing', bag.missing_files), ('damaged', bag.damaged_files)):
        if names:
            lines.append(f'{word}   {count(len(names), "file")}')
    return lines


def paced(pace: Pace, rate: float | None) -> list[str]:
    """
    Say which frames were left out, and whether a replay kept up with its rate.

    Parameters
    ----------
    pace : Pace
        After the last frame.
    rate : float or None
        What was asked for.

    Returns
    -------
    list of str
        Lines; none where nothing was asked for.

    """
    lines = []
    dropped = {topic: number for topic, number in pace.dropped.items() if number}
    if pace.dropped:
        total = sum(dropped.values())
        where = ', '.join(f'{topic} {number}' for topic, number in dropped.items())
        lines.append(
            f'{total} of {count(pace.given + total, "frame")} left out for newer ones'
            + (f': {where}' if where else '')
        )
    if rate is not None:
        lines.append(
            f'could not keep up with {rate:g} times real time: {count(pace.late, "frame")} late, '
            f'by up to {pace.behind:.1f} s'
            + ('' if pace.dropped else '; --drop leaves frames out, as the node does')
            if pace.late
            else f'kept up with {rate:g} times real time'
        )
    return lines


class Watch:
    """
    Follows a replay: prints where alerts begin and end, and sums up.

    Parameters
    ----------
    console : Console
        Where lines go.
    monitor : Monitor
        Any one of the replay's monitors, for its settings.
    several : bool
        Whether lines name the camera.
    origin : float
        Stamp from which times count, in s: `BagReader.origin`.

    """

    def __init__(
        self, console: Console, monitor: Monitor, *, several: bool, origin: float
    ) -> None:
        self._console = console
        self._several = several
        self._origin = origin
        self._stale_after = float(getattr(monitor.alert, 'stale_after', math.inf))
        point = monitor.calibration.operating_point
        self._log = EpisodeLog(refractory=point.refractory)
        self._frames = self._gaps = 0
        self._last: dict[str, float] = {}
        self._states: dict[str, State] = {}
        self._wall = 0.0
        self._unusable = self._unanswered = 0
        self._faults: Counter[str] = Counter()

    @property
    def episodes(self) -> list[Episode]:
        """Alerts so far."""
        return self._log.episodes

    def follow(self, observations: Iterable[Observation]) -> Iterator[Observation]:
        """Pass observations on and take note of them."""
        start = time.perf_counter()
        for observation in observations:
            self._frames += 1
            gap = observation.stamp - self._last.get(observation.camera, observation.stamp)
            self._gaps += gap > self._stale_after
            self._last[observation.camera] = observation.stamp
            self._log.add(observation)
            self._unanswered += not observation.has_answer
            if observation.health is not None:
                self._unusable += not observation.health.is_usable
                self._faults.update(fault.name for fault in observation.health.faults)
            # a frame or two over the threshold is everyday; the table has those changes too
            was = self._states.get(observation.camera)
            self._states[observation.camera] = observation.state
            if observation.alert.changed and State.ALERT in (was, observation.state):
                self._console.print(self._change(observation))
            yield observation
        self._wall = time.perf_counter() - start

    def summary(self, skipped: Sequence[SkippedFrame]) -> list[str]:
        """
        Sum up a replay that has ended.

        Parameters
        ----------
        skipped : sequence of SkippedFrame
            Frames that could not be decoded.

        Returns
        -------
        list of str
            Lines.

        """
        rate = self._frames / self._wall if self._wall else math.nan
        lines = [f'{count(self._frames, "frame")} in {self._wall:.2f} s ({rate:.1f} frames/s)']
        if skipped:
            lines[0] += f', {len(skipped)} skipped'
            lines += [
                f'  skipped {s.topic} at log time {s.log_time:.6f} s: {s.reason}'
                for s in skipped[:_NAMED]
            ]
            if len(skipped) > _NAMED:
                lines.append(f'  and {len(skipped) - _NAMED} more')
        if self._gaps:
            lines.append(
                f'{count(self._gaps, "gap")} longer than {self._stale_after:g} s; '
                'the alert logic starts anew after each'
            )
        if self._faults:
            named = ', '.join(f'{name} {number}' for name, number in self._faults.most_common())
            refused = (
                f'{count(self._unusable, "frame")} not judged for the health of the input; '
                if self._unusable
                else ''
            )
            lines.append(f'{refused}frames that fail a check: {named}')
        if self._unanswered:
            lines.append(f'{count(self._unanswered, "frame")} not judged: {NO_ANSWER}')
        episodes = self.episodes
        lines.append(count(len(episodes), 'alert'))
        for e in episodes:
            whose = f'{e.camera}  ' if self._several else ''
            end = '' if e.is_over else ', not over at the end'
            lines.append(
                f'  {whose}{e.start - self._origin:.3f} s to {e.end - self._origin:.3f} s '
                f'({e.duration:.3f} s), peak {e.peak:.4g}{end}'
            )
        return lines

    def _change(self, observation: Observation) -> str:
        whose = f'{observation.camera}  ' if self._several else ''
        return (
            f'{observation.stamp - self._origin:9.3f} s  {whose}{observation.state.value:<8}'
            f'raw_score {observation.raw_score:.4g}  {observation.alert.reason}'
        )
