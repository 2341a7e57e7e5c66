"""A bundle on recorded bags: every frame scored as on the robot, held against labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
import contextlib
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.calibration import Calibration
from ros_ood_monitor.engines import Engine
from ros_ood_monitor.errors import BagError, ParameterError
from ros_ood_monitor.evaluation.bags.given import (
    count_frames,
    FailedBag,
    Given,
    LabelChoice,
    list_bags,
    read_markers,
)
from ros_ood_monitor.evaluation.bags.judged import judge, JudgedBag
from ros_ood_monitor.evaluation.bags.labels import Label
from ros_ood_monitor.evaluation.bags.rows import choose_bootstrap, Rows
from ros_ood_monitor.evaluation.bags.runs import score_bags, Scoring
from ros_ood_monitor.evaluation.bags.scored import ScoredBag
from ros_ood_monitor.evaluation.bags.store import ScoreStore
from ros_ood_monitor.evaluation.bags.table import Bootstrap, Table
from ros_ood_monitor.metrics import check_bootstrap
from ros_ood_monitor.monitor import Monitor
from ros_ood_monitor.shards import Executor

__all__ = ['BagEvaluation', 'Counted', 'Settings', 'evaluate_bags']

Counted = Callable[[int, str], AbstractContextManager[Callable[[int], object]]]
"""Shows progress: given a total and a name, gives what takes how many more are done."""


@dataclass(frozen=True)
class Settings:
    """
    What figures depend on besides scores and labels.

    Parameters
    ----------
    ignore_margin : float
        Frames so near outside of a label are neither in- nor out-of-distribution, in s.
    refractory : float or None
        An alert that begins so soon after the last one is the same, in s; None for the bundle's.
    seed, resamples : int
        Of the bootstrap.

    Raises
    ------
    ParameterError
        If a value is outside its range.

    """

    ignore_margin: float = 1.0
    refractory: float | None = None
    seed: int = 0
    resamples: int = 1000

    def __post_init__(self) -> None:
        check_bootstrap(0.95, self.resamples)
        for name in ('ignore_margin', 'refractory'):
            value = getattr(self, name)
            if value is not None and not 0.0 <= value < float('inf'):
                msg = f'{name} must be 0 s or more, got {value:g} s'
                raise ParameterError(msg)


@dataclass(frozen=True, eq=False)
class BagEvaluation:
    """
    What `evaluate_bags` found: enough to write any report from, pictures excepted.

    Pictures are read again: `BagReader.pending` takes a window of log time, and ``ScoredBag`` has
    every frame's.

    Parameters
    ----------
    bundle : Bundle
        What was evaluated.
    engine : dict of str to str
        What it ran on; see `Engine.describe`.
    calibration : Calibration
        Of the precision that it ran.
    scoring : Scoring
        How bags were scored.
    settings : Settings
        As asked for, the refractory time filled in.
    bootstrap : Bootstrap
        How intervals were drawn.
    bags : tuple of JudgedBag
        Scores, labels, events and alerts of each bag, in the order given.
    failed : tuple of FailedBag
        Bags left out, and why.
    rows : Rows
        Figures, together and by kind, camera and bag.
    kept : int
        Bags whose scores were there from an earlier run.

    """

    bundle: Bundle
    engine: dict[str, str]
    calibration: Calibration
    scoring: Scoring
    settings: Settings
    bootstrap: Bootstrap
    bags: tuple[JudgedBag, ...]
    failed: tuple[FailedBag, ...]
    rows: Rows
    kept: int

    @property
    def threshold(self) -> float:
        """Return the threshold on raw_score over which a frame counted toward an alert."""
        return self.bags[0].scored.facts.threshold


@contextlib.contextmanager
def _uncounted(_: int, __: str) -> Iterator[Callable[[int], object]]:
    yield lambda _: None


def evaluate_bags(
    scoring: Scoring,
    bags: Sequence[Path],
    labels: LabelChoice,
    *,
    settings: Settings | None = None,
    executor: Executor | None = None,
    store: Path | None = None,
    progress: Counted = _uncounted,
) -> BagEvaluation:
    """
    Evaluate a bundle on bags.

    With more than one local job the calling script needs a guarded main module, because processes
    are spawned.

    Parameters
    ----------
    scoring : Scoring
        The bundle and how it runs.
    bags : sequence of Path
        Bags with labels.
    labels : LabelChoice
        Where labels come from.
    settings : Settings, optional
        What figures depend on.
    executor : Executor, optional
        What scores the bags, each a shard.
    store : Path, optional
        Folder in which the scores of finished bags are kept and found; None keeps nothing.
    progress : callable, optional
        Shows how many frames are scored; see `Counted`.

    Returns
    -------
    BagEvaluation
        Scores and figures; bags that cannot be evaluated are in ``failed``.

    Raises
    ------
    ParameterError
        If labels are missing or wrong, or a setting is out of range.
    BagError
        If not one bag can be evaluated.
    EngineError
        If the bundle does not run here as it should.

    """
    settings = settings or Settings()
    ScoreStore(store).check()
    given, failed = _with_markers(list_bags(bags, labels), labels.topic)
    bundle, engine = opened = scoring.open()
    try:
        Monitor(bundle, engine).prove()
        facts = engine.describe()
        calibration = bundle.calibration(engine.precision)
        kept = ScoreStore.of_engine(
            store, bundle, engine, topics=scoring.topics, every=scoring.every
        )
        paths = [one.path for one in given]
        scored, found = _scores(paths, scoring, opened, executor, kept, progress)
    finally:
        engine.close()
    if settings.refractory is None:
        settings = replace(settings, refractory=calibration.operating_point.refractory)
    judged: list[JudgedBag] = []
    for name, path, mine in given:
        try:
            judged.append(_judge(name, path, scored[path], mine or (), settings))
        except BagError as error:
            failed.append(FailedBag(name, path, str(error)))
    if not judged:
        msg = f'not one of {len(failed)} bags can be evaluated; the first: {failed[0].error}'
        raise BagError(msg)
    table = Table.of(judged)
    bootstrap = choose_bootstrap(judged, table, seed=settings.seed, resamples=settings.resamples)
    return BagEvaluation(
        bundle=bundle,
        engine=facts,
        calibration=calibration,
        scoring=scoring,
        settings=settings,
        bootstrap=bootstrap,
        bags=tuple(judged),
        failed=tuple(failed),
        rows=Rows.of(judged, table, bootstrap),
        kept=found,
    )


def _with_markers(given: list[Given], topic: str) -> tuple[list[Given], list[FailedBag]]:
    """Read the labels that are in the bags, before hours are spent on the frames."""
    ready, failed = [], []
    for name, path, labels in given:
        try:
            ready.append(
                Given(name, path, read_markers(path, topic) if labels is None else labels)
            )
        except BagError as error:
            failed.append(FailedBag(name, path, str(error)))
    return ready, failed


def _judge(
    name: str,
    path: Path,
    scored: ScoredBag | BagError,
    labels: Sequence[Label],
    settings: Settings,
) -> JudgedBag:
    if isinstance(scored, BagError):
        raise scored
    margin, refractory = settings.ignore_margin, settings.refractory or 0.0
    return judge(name, path, scored, labels, margin=margin, refractory=refractory)


def _scores(
    bags: Sequence[Path],
    scoring: Scoring,
    opened: tuple[Bundle, Engine],
    executor: Executor | None,
    store: ScoreStore,
    progress: Counted,
) -> tuple[dict[Path, ScoredBag | BagError], int]:
    """Return scores or what is wrong by bag, and how many scores were there already."""
    found: dict[Path, ScoredBag | BagError] = {}
    keys: dict[Path, str] = {}
    for path in bags:
        try:
            keys[path] = store.key(path)
        except BagError as error:
            found[path] = error
            continue
        kept = store.load(keys[path])
        if kept is not None:
            found[path] = kept
    left = [path for path in keys if path not in found]
    total = sum(count_frames(path, scoring.topics, scoring.every) for path in left)
    with progress(total, f'{len(left)} bags' if len(left) > 1 else 'frames') as count:
        for path, done in score_bags(left, scoring, opened, executor=executor, on_frames=count):
            found[path] = done
            if isinstance(done, ScoredBag):
                store.save(keys[path], done)
    return found, len(keys) - len(left)
