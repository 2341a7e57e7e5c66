"""The files that ``ood_monitor replay`` writes on the way, as far as they are asked for."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
import contextlib

from ros_ood_monitor.alerting import Episode
from ros_ood_monitor.bags.pending import PendingFrame
from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.camera_names import camera_names
from ros_ood_monitor.cli.arguments import check_with_images
from ros_ood_monitor.cli.replay_overlays import Overlays
from ros_ood_monitor.evaluation.timeline import check_plot, Timeline
from ros_ood_monitor.records import Frame, Observation
from ros_ood_monitor.replay import check_table, write_table
from ros_ood_monitor.write_back import WriteBack

__all__ = ['ReplayOutputs', 'check_outputs']


def check_outputs(args: argparse.Namespace) -> None:
    """
    Refuse files that cannot be written before anything is replayed.

    Parameters
    ----------
    args : argparse.Namespace
        Of the verb.

    Raises
    ------
    ParameterError
        If one has a wrong ending or no folder, or an option lacks another one.

    """
    check_with_images(args)
    if args.out:
        check_table(args.out)
    if args.plot:
        check_plot(args.plot)


class ReplayOutputs:
    """
    Writes a bag, overlays and a table while frames and observations pass, and a plot at the end.

    Parameters
    ----------
    args : argparse.Namespace
        Of the verb.
    bundle : Bundle
        What is replayed with.
    topics : sequence of str
        Image topics.
    title : str
        Line over the plot.
    origin : float
        Stamp from which the plot's times count, in s.
    stack : contextlib.ExitStack
        Closes the bag, which takes its name then.

    Raises
    ------
    ParameterError, BagError
        If a folder or the bag cannot be made.

    """

    def __init__(
        self,
        args: argparse.Namespace,
        bundle: Bundle,
        topics: Sequence[str],
        *,
        title: str,
        origin: float,
        stack: contextlib.ExitStack,
    ) -> None:
        self._args = args
        self._timeline = Timeline(unit=bundle.manifest.unit, title=title, origin=origin)
        self._bag: WriteBack | None = None
        if args.write_bag:
            self._bag = stack.enter_context(
                WriteBack(
                    args.write_bag,
                    bundle=f'{bundle.manifest.name}@{bundle.digest[:12]}',
                    cameras=camera_names(topics),
                    with_images=args.with_images,
                )
            )
        self._overlays: Overlays | None = None
        if args.overlays:
            self._overlays = Overlays(args.overlays, camera_in_name=len(topics) > 1)

    def take(self, received: Iterable[tuple[PendingFrame, Frame]]) -> Iterator[Frame]:
        """
        Pass frames on, each to be answered before the next one.

        Parameters
        ----------
        received : iterable of (PendingFrame, Frame)
            What `BagReader.received_frames` gives.

        Returns
        -------
        iterator of Frame
            The frames.

        """
        frames = self._bag.take(received) if self._bag else (frame for _, frame in received)
        return self._overlays.take(frames) if self._overlays else frames

    def write(self, observations: Iterator[Observation]) -> None:
        """
        Go through all observations, and write what they bring.

        Parameters
        ----------
        observations : iterator of Observation
            The answers to the frames of `take`.

        Raises
        ------
        ParameterError, BagError
            If a file cannot be written.

        """
        if self._bag:
            observations = self._bag.follow(observations)
        if self._overlays:
            observations = self._overlays.follow(observations)
        if self._args.plot:
            observations = self._timeline.follow(observations)
        if self._args.out:
            write_table(observations, self._args.out)
        else:
            for _ in observations:
                pass

    def finish(self, episodes: Sequence[Episode]) -> list[str]:
        """
        Draw the plot.

        Parameters
        ----------
        episodes : sequence of Episode
            The alerts.

        Returns
        -------
        list of str
            What was written where, a line each.

        """
        args = self._args
        if args.plot:
            self._timeline.save(args.plot, episodes)
        lines = [f'wrote {path}' for path in (args.out, args.plot, args.write_bag) if path]
        if self._overlays:
            lines.append(f'wrote {self._overlays.count} overlays to {args.overlays}')
        return lines
