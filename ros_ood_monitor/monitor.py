"""
The corridor: one frame in, one observation out; the same on the robot and in a replay.

Frames of several cameras may share one call of their engine; each is judged by its own monitor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
import copy
import math
from pathlib import Path
import time
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.alerting import AlertLogic, make_logic
from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.bundle.goldens import Verification
from ros_ood_monitor.engines import Engine, open_engine
from ros_ood_monitor.errors import EngineError
from ros_ood_monitor.health import CHECKS, HealthLimits, HealthMonitor
from ros_ood_monitor.maps.mapper import Mapper
from ros_ood_monitor.preprocess import Preprocessor
from ros_ood_monitor.records import (
    AlertState,
    Frame,
    Health,
    NetworkInput,
    NO_ANSWER,
    Observation,
    Reading,
)

__all__ = ['Monitor', 'observe_together']

_MOST_ODD: Final = 10
"""Answers in a row that are not finite, after which the engine is no engine any more."""


class Monitor:
    """
    Scores the frames of one camera and keeps its alert state.

    Parameters
    ----------
    bundle : Bundle
        What was trained.
    engine : Engine
        The bundle, opened on this device; it says which precision it runs.
    alert : AlertLogic, optional
        The alert logic; that of the bundle's operating point where it is not given.
    clock : callable, optional
        Seconds for the processing time; ``time.perf_counter`` where it is not given.
    on_input : callable, optional
        Given every network input (h, w, 3) uint8 that is scored.
    health : bool, default True
        Whether frames are checked before they are judged; see `health`.

    Raises
    ------
    BundleError
        If the bundle's table of health is damaged.

    """

    def __init__(
        self,
        bundle: Bundle,
        engine: Engine,
        *,
        alert: AlertLogic | None = None,
        clock: Callable[[], float] | None = None,
        on_input: Callable[[npt.NDArray[np.uint8]], object] | None = None,
        health: bool = True,
    ) -> None:
        self.bundle = bundle
        self.engine = engine
        self._answers = _Answers()
        self.precision = engine.precision
        self.calibration = bundle.calibration(engine.precision)
        self.alert = alert or make_logic(
            self.calibration.operating_point, self.calibration.raw_score
        )
        self.health_limits = HealthLimits.from_table(
            bundle.manifest.health,
            frame_rate_hz=self.calibration.operating_point.frame_rate_hz,
        )
        self.health = HealthMonitor(self.health_limits) if health else None
        self._clock = clock or time.perf_counter
        self._on_input = on_input
        manifest = bundle.manifest
        self._preprocess = Preprocessor(manifest.input_height, manifest.input_width)
        of_map = self.calibration.map
        self._mapper = None if of_map is None else Mapper(self._preprocess, of_map)

    @classmethod
    def from_bundle(
        cls,
        bundle: Bundle,
        *,
        engine: str = 'auto',
        precision: str | None = None,
        threads: int = 1,
        device: int = 0,
        cache: Path | None = None,
        alert: AlertLogic | None = None,
        clock: Callable[[], float] | None = None,
        health: bool = True,
    ) -> Monitor:
        """
        Open a bundle on this device.

        Parameters
        ----------
        bundle : Bundle
            What was trained.
        engine : str, default 'auto'
            Inference library; see `open_engine`.
        precision : str, optional
            One of the bundle's precisions; where it is not given the engine takes one.
        threads : int, default 1
            CPU threads of the engine.
        device, cache
            GPU and folder of built engines; see `open_engine`.
        alert, clock, health
            As in the constructor.

        Returns
        -------
        Monitor
            Ready, not yet warmed up.

        Raises
        ------
        EngineError
            If the engine cannot run the bundle.
        BundleError
            If the bundle does not hold the precision, or its table of health is damaged.

        """
        opened = open_engine(
            bundle, engine, precision=precision, threads=threads, device=device, cache=cache
        )
        try:
            return cls(bundle, opened, alert=alert, clock=clock, health=health)
        except BaseException:
            opened.close()
            raise

    def another(self, alert: AlertLogic) -> Monitor:
        """
        Return the monitor of a further camera, on the same engine.

        Parameters
        ----------
        alert : AlertLogic
            Its alert logic, which it shares with no other camera.

        Returns
        -------
        Monitor
            It holds nothing of its own but ``alert`` and ``health``: to be used from the same
            thread, and useless after either is closed. Answers that are not finite are counted for
            all of them together.

        """
        twin = copy.copy(self)
        twin.alert = alert
        twin.health = None if self.health is None else self.health.another()
        return twin

    def take_engine(self, engine: Engine) -> None:
        """
        Go on with another engine from the next frame; the alert state is kept.

        The old one is not closed: a frame may be in work on it.

        Parameters
        ----------
        engine : Engine
            Proven on the goldens, of the precision that the monitor runs.

        Raises
        ------
        EngineError
            If its precision is another one: thresholds are not the same.

        """
        if engine.precision != self.precision:
            msg = (
                f'engine has the wrong precision: expected {self.precision!r}, got '
                f'{engine.precision!r}; start the monitor anew with it'
            )
            raise EngineError(msg)
        self.engine = engine
        self._answers.odd_in_row = 0

    @property
    def threshold(self) -> float:
        """Return the threshold on raw_score over which a frame counts toward an alert."""
        return self.alert.threshold

    @property
    def has_map(self) -> bool:
        """Tell whether the bundle says where in the picture, too."""
        return self._mapper is not None

    @property
    def state(self) -> AlertState:
        """Return the alert logic's latest state."""
        return self.alert.state

    def observe(self, frame: Frame) -> Observation:
        """
        Score a frame and step the alert logic.

        A frame that is no usable picture is scored, too, but its score reaches no alert logic:
        the state stays as it is, and becomes FAULT where that lasts. Where the engine's answer is
        not finite the state is FAULT at once, for this camera alone; ten such answers in a row, of
        whichever cameras, are an engine that fails.

        Parameters
        ----------
        frame : Frame
            The next frame of this camera, in the order of arrival.

        Returns
        -------
        Observation
            Score and state after this frame, and its heat-map where the bundle has one.

        Raises
        ------
        EngineError
            If the engine fails; the alert state is left as it was.

        """
        return observe_together([(self, frame)])[0]

    def observe_image(
        self, rgb: npt.NDArray[np.uint8], *, stamp: float | None = None, camera: str = ''
    ) -> Observation:
        """
        Score a picture; see `observe`.

        Parameters
        ----------
        rgb : ndarray of shape (height, width, 3), uint8
            RGB pixels.
        stamp : float, optional
            Time of the image, in s; the monitor's clock where it is not given.
        camera : str, default ''
            Name of the camera.

        Returns
        -------
        Observation
            Score and state after this picture.

        Raises
        ------
        DecodeError
            If ``rgb`` is no picture.
        EngineError
            If the engine fails.

        """
        return self.observe(Frame(rgb, self._clock() if stamp is None else stamp, camera))

    def check_silence(self, seconds: float) -> AlertState:
        """
        Tell the alert logic how long no frame has come.

        Parameters
        ----------
        seconds : float
            Time since the last frame was received, in s.

        Returns
        -------
        AlertState
            STALE once that is too long.

        """
        return self.alert.silence(seconds)

    def fault(self, reason: str) -> AlertState:
        """
        Tell the alert logic that frames cannot be scored.

        Parameters
        ----------
        reason : str
            What failed, for people.

        Returns
        -------
        AlertState
            FAULT.

        """
        return self.alert.fault(reason)

    def verify(self) -> Verification:
        """
        Compare the engine with the bundle's goldens.

        Returns
        -------
        Verification
            The worst golden, relative to its tolerance.

        """
        return self.bundle.verify(self.engine, self.precision)

    def prove(self) -> None:
        """
        Go on only with an engine that reproduces the bundle's goldens.

        Raises
        ------
        EngineError
            If it does not.

        """
        proof = self.verify()
        if not proof.ok:
            msg = f'{proof}; build or choose another engine: {self.bundle.path}'
            raise EngineError(msg)

    def warm_up(self) -> None:
        """Let the engine run once before the first frame."""
        self.engine.warm_up()

    def reset(self) -> None:
        """Forget the stream; the next frame is the first one."""
        self._answers.odd_in_row = 0
        self.alert.reset()
        if self.health is not None:
            self.health.reset()

    def close(self) -> None:
        """Give back what the engine holds."""
        self.engine.close()

    def _prepare(self, frame: Frame) -> NetworkInput:
        made = self._preprocess.input_of(frame)
        if self._on_input is not None:
            self._on_input(made.image[0])
        return made

    def _judge(
        self, frame: Frame, image: npt.NDArray[np.uint8], reading: Reading, row: int, start: float
    ) -> Observation:
        """Make an observation of one row of what the engine read."""
        raw_score = float(reading.raw_score[row])
        has_answer = math.isfinite(raw_score)
        checks = self.health  # read once: it may be exchanged meanwhile
        health = None if checks is None else checks.look(image, frame)
        if not has_answer:
            alert = self.alert.fault(NO_ANSWER, frame.stamp)
        elif health is None or health.is_usable:
            alert = self.alert.update(raw_score, frame.stamp)
        else:
            alert = self._without_judgement(health, frame.stamp)
        return Observation(
            stamp=frame.stamp,
            camera=frame.camera,
            raw_score=raw_score,
            score=self.calibration.score(raw_score),
            threshold=self.alert.threshold,
            alert=alert,
            health=health,
            image_size=(frame.height, frame.width),
            **(self._where(reading, row, frame) if has_answer else {}),
            latency_ms=(self._clock() - start) * 1e3,
        )

    def _where(self, reading: Reading, row: int, frame: Frame) -> dict[str, Any]:
        """Return what an observation says about places; nothing without a map."""
        if self._mapper is None or reading.patch_score is None:
            return {}
        # of its own: an engine may write its next answer where this one lies
        patches = reading.patch_score[row].copy()  # (gh, gw)
        return {
            'heatmap_peak': self._mapper.peak(patches),
            'regions': self._mapper.regions(patches, (frame.height, frame.width)),
            'patch_score': patches,
            'project': self._mapper,
        }

    def _without_judgement(self, health: Health, stamp: float) -> AlertState:
        reason = next((str(fault) for fault in health.faults if fault.blinds), '')
        if health.is_blind:
            names = ' '.join(name for name in health.lasting if CHECKS[name].blinds)
            reason = reason or f'the input was {names} until just now'
            return self.alert.fault(reason, stamp)
        return self.alert.skip(stamp, reason)


class _Answers:
    """Counts the answers in a row that are not finite, of all cameras of one engine."""

    def __init__(self) -> None:
        self.odd_in_row = 0

    def count(self, reading: Reading) -> None:
        """Take an engine's answers, or raise EngineError where it has given none for too long."""
        for raw_score in reading.raw_score.tolist():
            self.odd_in_row = 0 if math.isfinite(raw_score) else self.odd_in_row + 1
        if self.odd_in_row >= _MOST_ODD:
            msg = (
                f'no finite answer for {self.odd_in_row} frames in a row; verify the engine on '
                'the goldens (ood_monitor verify), and re-export the bundle if it fails'
            )
            raise EngineError(msg)


def observe_together(frames: Sequence[tuple[Monitor, Frame]]) -> list[Observation]:
    """
    Score frames of several cameras in one call of their engine; else as `Monitor.observe`.

    Parameters
    ----------
    frames : sequence of tuple of Monitor and Frame
        At least one frame, each with the monitor of its camera; of any size. The monitors run one
        bundle on one engine, see `Monitor.another`.

    Returns
    -------
    list of Observation
        In the order of the frames. ``latency_ms`` of each is the time from the beginning of this
        call: the engine's whole time, which each of them had to wait, is in all of them. What
        `Preprocessor.ahead` took for a frame counts as if it were done here.

    Raises
    ------
    EngineError
        If the engine fails, has given no finite answer ten times in a row, or the monitors are of
        different bundles or precisions; the alert states are left as they were.

    """
    first = frames[0][0]
    starts = [monitor._clock() for monitor, _ in frames]
    for monitor, frame in frames[1:]:
        if (monitor.bundle.digest, monitor.precision) != (first.bundle.digest, first.precision):
            msg = (
                f'frames of camera {frame.camera!r} belong to another bundle or precision: '
                f'expected {first.precision} of {first.bundle.path}, got {monitor.precision} of '
                f'{monitor.bundle.path}; observe them apart'
            )
            raise EngineError(msg)
    made = [monitor._prepare(frame) for monitor, frame in frames]  # n x (1, h, w, 3)
    # of one frame, which is the usual case, nothing is copied
    batch = made[0].image if len(made) == 1 else np.concatenate([one.image for one in made])
    try:
        reading = first.engine.infer(batch)  # of (n, h, w, 3)
    except EngineError:
        raise
    except Exception as error:  # whatever its library raises
        msg = str(error) or type(error).__name__
        raise EngineError(msg) from error
    first._answers.count(reading)
    return [
        monitor._judge(frame, batch[row], reading, row, start - one.seconds)
        for row, ((monitor, frame), start, one) in enumerate(
            zip(frames, starts, made, strict=True)
        )
    ]
