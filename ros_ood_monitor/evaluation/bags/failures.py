"""Bags that could not be evaluated, those of one reason together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ros_ood_monitor.evaluation.bags.compare import Comparison
from ros_ood_monitor.evaluation.bags.evaluate import BagEvaluation

__all__ = ['Failure', 'failures']


class Failure(NamedTuple):
    """Why some bags failed, which ones, and with which bundle; empty where with each."""

    reason: str
    bags: tuple[str, ...]
    bundle: str

    def __str__(self) -> str:
        bundle = f' (with {self.bundle})' if self.bundle else ''
        return f'failed{bundle}: {", ".join(self.bags)}: {self.reason}'


def failures(evaluation: BagEvaluation, comparisons: Sequence[Comparison] = ()) -> list[Failure]:
    """
    Sum up what failed.

    Parameters
    ----------
    evaluation : BagEvaluation
        What `evaluate_bags` found.
    comparisons : sequence of Comparison
        Other bundles beside it.

    Returns
    -------
    list of Failure
        By reason, in one line each without the bag's path.

    """
    evaluations = [evaluation, *(one.second for one in comparisons)]
    with_bundles: dict[tuple[str, str], list[str]] = {}
    for one in evaluations:
        called = f'{one.bundle.manifest.name} {one.bundle.digest[:12]}'
        for bag in one.failed:
            reason = ' '.join(bag.error.removesuffix(f': {bag.path}').split())
            with_bundles.setdefault((bag.name, reason), []).append(called)
    folded: dict[tuple[str, str], list[str]] = {}
    for (name, reason), bundles in with_bundles.items():
        whose = '' if len(bundles) == len(evaluations) else ', '.join(bundles)
        folded.setdefault((reason, whose), []).append(name)
    return [Failure(reason, tuple(bags), whose) for (reason, whose), bags in folded.items()]
