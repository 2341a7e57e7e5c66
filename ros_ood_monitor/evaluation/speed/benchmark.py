"""
How fast the monitor is, as ratios to what it cannot do without.

The yardstick is ONNX Runtime called bare on tensors that are ready: whatever ``Monitor.observe``
takes beyond that is ours. Another engine is its own yardstick. All contenders run in one process
on one thread, on the bundle's own goldens enlarged to camera frames, several of them in turn so
that a frame is not always in cache.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.engines import open_engine
from ros_ood_monitor.engines.cuda import find_device
from ros_ood_monitor.engines.ort_engine import open_session
from ros_ood_monitor.errors import EngineError
from ros_ood_monitor.evaluation.speed.fresh import import_facts, monitor_process, UNWANTED
from ros_ood_monitor.evaluation.speed.machine import context
from ros_ood_monitor.evaluation.speed.timing import Call, interleave, ratio, summary
from ros_ood_monitor.monitor import Monitor
from ros_ood_monitor.preprocess import Preprocessor
from ros_ood_monitor.records import Frame

__all__ = ['GOALS', 'GOALS_WITH_MAP', 'Settings', 'benchmark']

CAMERA = (480, 640)
"""Height and width of the camera frames, in px."""


class Goal(NamedTuple):
    """A ratio of two contenders and what it may be at most."""

    name: str
    slow: str
    fast: str
    at_most: float


GOALS = (
    Goal('observe 640x480 / bare', 'observe_camera', 'bare', 1.35),
    Goal('observe input-size / bare', 'observe_input', 'bare', 1.10),
    Goal('(backbone + scorer) / backbone', 'bare', 'backbone', 1.10),
)
"""Of ONNX Runtime on the CPU, of a bundle without a map."""

GOALS_WITH_MAP = (*GOALS[:-1], GOALS[-1]._replace(at_most=1.50))
"""The same where the scorer scores the cells of a map, too."""

GOALS_ELSEWHERE = (Goal('observe input-size / infer', 'observe_input', 'infer', 1.10),)
"""Of any other engine: what is inside of it cannot be called on its own."""


class Settings(NamedTuple):
    """How much is measured; see `interleave` for the first three."""

    rounds: int = 60
    burst: int = 3
    warm_up: int = 10
    processes: int = 5
    frames: int = 100

    @classmethod
    def quick(cls) -> Settings:
        """Return settings that show that it runs; the figures are worth little."""
        return cls(rounds=3, burst=2, warm_up=1, processes=1, frames=5)


def benchmark(
    bundle: Bundle,
    *,
    engine: str = 'onnxruntime',
    precision: str | None = None,
    device: int = 0,
    cache: Path | None = None,
    settings: Settings | None = None,
) -> dict[str, Any]:
    """
    Measure a bundle on this machine.

    Parameters
    ----------
    bundle : Bundle
        What to measure.
    engine : str, default 'onnxruntime'
        What runs it; see `open_engine`.
    precision : str, optional
        One of its precisions; where it is not given the engine takes one.
    device, cache
        GPU and folder of built engines; see `open_engine`.
    settings : Settings, optional
        How much is measured.

    Returns
    -------
    dict
        Serialisable as JSON: ``bundle``, ``engine``, ``gpu`` where it runs on one, ``settings``,
        ``context``, ``times_ms`` of every contender, ``ratios`` with goals, ``precisions`` beside
        each other on the CPU, ``process`` with start-up and memory, and ``imports``.

    Raises
    ------
    EngineError
        If the bundle does not run here.

    """
    settings = settings or Settings()
    before = context()
    opened = open_engine(
        bundle, engine, precision=precision, threads=1, device=device, cache=cache
    )
    precision = opened.precision
    monitor = Monitor(bundle, opened)
    opened.warm_up()
    facts = opened.describe()
    is_ours = (facts['engine'], facts['device']) == ('onnxruntime', 'cpu')
    contenders = _contenders(bundle, monitor)
    if is_ours:
        contenders |= _bare_contenders(bundle, precision)
    with _one_opencv_thread():
        times = _interleave(contenders, settings)
    monitor.close()
    ours = GOALS_WITH_MAP if monitor.has_map else GOALS
    goals = ours if is_ours else GOALS_ELSEWHERE
    manifest = bundle.manifest
    imports = import_facts(settings.processes)
    gpu = None if facts['device'] == 'cpu' else _gpu(device)
    return {
        'bundle': {
            'name': manifest.name,
            'digest': bundle.digest,
            'input': manifest.input_text,
            'taps': {tap.name: tap.channels for tap in manifest.taps},
        },
        'engine': facts,
        'gpu': gpu,
        'settings': settings._asdict(),
        'context': {**before, 'load_average_after': context()['load_average']},
        'times_ms': {name: summary(values) for name, values in times.items()},
        'ratios': {goal.name: _judge(goal, times) for goal in goals},
        'precisions': _precisions(bundle, settings),
        'process': monitor_process(
            bundle.path,
            precision,
            engine=engine,
            device=device,
            cache=cache,
            frames=settings.frames,
            on_gpu=gpu is not None,
        ),
        'imports': {name: {**found, **_lightness(found)} for name, found in imports.items()},
    }


def _gpu(device: int) -> dict[str, Any] | None:
    """Return the GPU's facts; None where they cannot be asked for, as without cuda-bindings."""
    try:
        return vars(find_device(device))
    except EngineError:
        return None


def _contenders(bundle: Bundle, monitor: Monitor) -> dict[str, Call]:
    manifest = bundle.manifest
    images = bundle.goldens(monitor.precision).image  # (k, h, w, 3)
    tensors = _tensors(images)
    small = [Frame(image) for image in images]
    large = [Frame(_enlarged(image)) for image in images]
    count = len(images)

    preprocess = Preprocessor(manifest.input_height, manifest.input_width)
    scores = monitor.engine.infer(images).require_finite().raw_score.tolist()

    def alert(k: int) -> None:
        monitor.calibration.score(scores[k % count])
        monitor.alert.update(scores[k % count], 0.0)

    return {
        'observe_input': lambda k: monitor.observe(small[k % count]),
        'observe_camera': lambda k: monitor.observe(large[k % count]),
        'resize': lambda k: preprocess(large[k % count].rgb),
        'infer': lambda k: monitor.engine.infer(tensors[k % count]),
        'alert': alert,
    }


def _bare_contenders(bundle: Bundle, precision: str) -> dict[str, Call]:
    tensors = _tensors(bundle.goldens(precision).image)
    backbone = open_session(bundle.backbone(precision), precision=precision)
    scorer = open_session(bundle.scorer())
    taken = [node.name for node in scorer.get_inputs()]
    made = [node.name for node in scorer.get_outputs()]
    count = len(tensors)

    def bare(k: int) -> None:
        features = backbone.run(taken, {'image': tensors[k % count]})
        scorer.run(made, dict(zip(taken, features, strict=True)))

    return {
        'backbone': lambda k: backbone.run(taken, {'image': tensors[k % count]}),
        'bare': bare,
    }


def _precisions(bundle: Bundle, settings: Settings) -> dict[str, Any]:
    """Time every precision on the CPU, beside each other and as a ratio to the first one."""
    held = bundle.manifest.precisions
    engines = {name: open_engine(bundle, 'onnxruntime', precision=name) for name in held}
    tensors = _tensors(bundle.goldens(held[0]).image)

    def infer(name: str) -> Call:
        return lambda k: engines[name].infer(tensors[k % len(tensors)])

    times = _interleave({name: infer(name) for name in held}, settings)
    for opened in engines.values():
        opened.close()
    return {
        name: {
            **summary(times[name]),
            'ratio': vars(ratio(times[name], times[held[0]])),
            'mib': len(bundle.backbone(name)) / 2**20,
        }
        for name in held
    }


def _interleave(
    contenders: dict[str, Call], settings: Settings
) -> dict[str, npt.NDArray[np.float64]]:
    return interleave(
        contenders, rounds=settings.rounds, burst=settings.burst, warm_up=settings.warm_up
    )


def _tensors(images: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.uint8]]:
    return [np.ascontiguousarray(image[np.newaxis]) for image in images]  # k x (1, h, w, 3)


def _enlarged(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    height, width = CAMERA
    return np.asarray(cv2.resize(image, (width, height)), dtype=np.uint8)  # (480, 640, 3)


@contextlib.contextmanager
def _one_opencv_thread() -> Iterator[None]:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


def _judge(goal: Goal, times: dict[str, npt.NDArray[np.float64]]) -> dict[str, Any]:
    found = ratio(times[goal.slow], times[goal.fast])
    return {**vars(found), 'goal_at_most': goal.at_most, 'met': found.median <= goal.at_most}


def _lightness(found: dict[str, Any]) -> dict[str, Any]:
    unwanted = sorted(set(found['heavy']) & set(UNWANTED))
    return {'unwanted': unwanted, 'met': not unwanted}
