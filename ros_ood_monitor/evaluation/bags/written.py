"""What a bundle says of evaluated bags, as bags: the node's topics beside the camera's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ros_ood_monitor.bags import BagReader
from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.evaluation.bags.evaluate import BagEvaluation, Counted
from ros_ood_monitor.monitor import Monitor
from ros_ood_monitor.preprocess import Preprocessor
from ros_ood_monitor.replay import replay
from ros_ood_monitor.write_back import WriteBack

__all__ = ['check_written', 'write_bags']


def check_written(path: Path, bags: Sequence[Path]) -> None:
    """
    Refuse a place for bags that cannot be used, before anything is computed for it.

    Parameters
    ----------
    path : Path
        Where the bags are to be.
    bags : sequence of Path
        The bags that are evaluated.

    Raises
    ------
    ParameterError
        If something is there already, or one file is to hold several bags.

    """
    if path.exists():
        msg = f'bag exists and is not overwritten; choose another name: {path}'
        raise ParameterError(msg)
    if path.suffix.lower() == '.mcap' and len(bags) > 1:
        msg = f'{len(bags)} bags do not go into one file; name a folder to be made: {path}'
        raise ParameterError(msg)


def write_bags(
    path: Path, evaluation: BagEvaluation, *, with_images: bool, progress: Counted
) -> Iterator[Path]:
    """
    Replay the evaluated bags once more, and write what the monitor says.

    Parameters
    ----------
    path : Path
        The bag to make; of several bags, those that failed among them, the folder of them, each
        under its name.
    evaluation : BagEvaluation
        What `evaluate_bags` found.
    with_images : bool
        Whether the pictures are copied.
    progress : callable
        Shows how many frames are done.

    Yields
    ------
    Path
        Each bag that is made.

    Raises
    ------
    BagError
        If a bag cannot be read any more, or written.
    EngineError
        If the engine fails.

    """
    scoring = evaluation.scoring
    several = len(evaluation.bags) + len(evaluation.failed) > 1
    bundle, engine = scoring.open()
    preprocess = Preprocessor(bundle.manifest.input_height, bundle.manifest.input_width)
    try:
        for place, bag in enumerate(evaluation.bags):
            facts = bag.scored.facts
            name = Path(bag.name).name
            if name != bag.name:  # bags that share a name are called by their paths
                name = f'{place}_{name}'
            target = path / name if several else path
            with (
                BagReader(bag.path) as reader,
                WriteBack(
                    target,
                    bundle=f'{bundle.manifest.name}@{bundle.digest[:12]}',
                    cameras=facts.cameras,
                    with_images=with_images,
                ) as back,
                progress(len(bag.scored), f'writing {bag.name}') as count,
            ):
                received = reader.received_frames(
                    list(facts.topics), every=scoring.every, workers=1, prepare=preprocess.ahead
                )
                answers = replay(lambda _: Monitor(bundle, engine), back.take(received))
                for _ in back.follow(answers):
                    count(1)
            yield target
    finally:
        engine.close()
