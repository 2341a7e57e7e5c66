"""The card of a training set: what a reader of the manifest must know about the training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
import importlib.metadata
from typing import Any

from ros_ood_monitor.json_values import finite
from ros_ood_monitor.training.evidence import Evidence
from ros_ood_monitor.training.fitting.choice import Choice, RULE
from ros_ood_monitor.training.fitting.fitted_taps import FittedTap
from ros_ood_monitor.training.precisions import PrecisionVerdict
from ros_ood_monitor.training.wild.fitted_wild import FittedWild

__all__ = ['training_card']

_NAMED = 20
_LIBRARIES = ('torch', 'nflows', 'timm', 'torchvision', 'onnx', 'onnxscript', 'onnxruntime')


def training_card(found: Evidence, settings: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return what a reader must know about the training: data, split, settings, fits, limits.

    Parameters
    ----------
    found : Evidence
        What the training found.
    settings : mapping
        Every setting that changes the result.

    Returns
    -------
    dict
        Plain values only; no time, no place on disk.

    """
    split, table, repetition = found.split, found.table, found.repetition
    parts = (split.fit, split.validation, split.calibration)
    states = [shard.state for shard in table.shards]
    skipped = [f'{name}: {reason}' for state in states for name, reason in state.skipped]
    return {
        'sequences': _shortened(found.sequences),
        'frames': {
            'used': sum(len(part) for part in parts),
            'fit': len(parts[0]),
            'validation': len(parts[1]),
            'calibration': len(parts[2]),
            'skipped': len(skipped),
            'near_duplicates': sum(state.near_duplicates for state in states),
            'distinct': repetition.distinct,
            'shared': repetition.shared,
            'held_out_twins': round(repetition.twins, 4),
            'backward_steps': table.backward_steps(),
        },
        'skipped_frames': _shortened(skipped),
        'missing_files': _shortened([line for state in states for line in state.missing]),
        'split': split.rule,
        'data_sha256': table.data_sha256,
        'settings': dict(settings),
        'taps': {row.tap.name: _tap_card(row) for row in found.fitted},
        **({} if found.choice is None else {'choice': _choice_card(found.choice)}),
        **({} if found.fitted_map is None else {'map': _map_card(found)}),
        **({} if found.unmasked is None else {'unmask': found.unmasked.card()}),
        **({} if found.wild is None else {'wild': _wild_card(found.wild)}),
        'precisions': [_verdict_card(verdict) for verdict in found.verdicts],
        'false_alarm_rate': _rate(found),
        'versions': {name: _version(name) for name in _LIBRARIES},
    }


def _rate(found: Evidence) -> str:
    if not found.rates:
        return (
            'not established: thresholds are quantiles of held-out frames, and frames of a video '
            'are not independent'
        )
    return '; '.join(f'{precision}: {rate}' for precision, rate in found.rates.items())


def _tap_card(row: FittedTap) -> dict[str, Any]:
    record = row.record
    return {
        'shrinkage': None if record.gaussian is None else record.gaussian.shrinkage,
        'step': record.step,
        'steps_made': record.steps,
        'nll_at_start': round(record.nll_at_start, 4),
        'nll': round(record.nll, 4),
        'nll_mean': row.standard[0],
        'nll_std': row.standard[1],
        'curve': [[step, round(nll, 3)] for step, nll in record.curve],
        'fit_curve': [[step, round(nll, 3)] for step, nll in record.fit_curve],
        **({'facts': record.facts} if record.facts else {}),
    }


def _map_card(found: Evidence) -> dict[str, Any]:
    fitted = found.fitted_map
    assert fitted is not None
    assert fitted.cells.local is not None
    mean, std = fitted.cells.local
    record = fitted.record
    return {
        'cells': fitted.rows,
        'statistics_frames': fitted.frames,
        'local_mean': mean,
        'local_std': std,
        'step': record.step,
        'steps_made': record.steps,
        **({'facts': record.facts} if record.facts else {}),
        **(
            {}
            if found.map_choice is None
            else {
                'auroc': {name: finite(round(area, 4)) for name, area in found.map_choice.items()}
            }
        ),
    }


def _wild_card(wild: FittedWild) -> dict[str, Any]:
    frames = wild.frames
    return {
        'alpha': wild.alpha,
        'has_learnt': wild.has_learnt,
        'constraint_holds': wild.holds,
        'split': wild.split,
        'decay': wild.woods.decay,
        'frames': {
            'used': frames.frames,
            'distinct': frames.distinct,
            'shared': frames.shared,
            'twins': round(frames.twins, 4),
            'skipped': frames.skipped,
        },
        'sequences': _shortened(frames.sequences),
        'data_sha256': frames.data_sha256,
        'over_boundary': {
            one.density: {'calibration': list(one.known), 'wild': list(one.wild)}
            for one in (wild.beside, wild.head)
        },
    }


def _choice_card(choice: Choice) -> dict[str, Any]:
    aurocs: dict[str, dict[str, float]] = {}
    for one in choice.candidates:
        aurocs.setdefault(one.density, {})[one.taps[0]] = round(one.auroc, 4)
    return {
        'rule': RULE,
        'density': choice.taken.density,
        'taps': list(choice.taken.taps),
        'default': round(choice.default.auroc, 4),
        'auroc': round(choice.taken.auroc, 4),
        'gain': round(choice.taken.gain, 4),
        'standard_error': round(choice.taken.standard_error, 4),
        'auroc_error': finite(round(choice.taken.error, 4)),
        'candidates': len(choice.candidates),
        'better_than_chance': not choice.blind,
        'auroc_from_tap_on': aurocs,
    }


def _verdict_card(verdict: PrecisionVerdict) -> dict[str, Any]:
    facts = {
        **asdict(verdict),
        'refused': list(verdict.refused),
        'verdict': verdict.word,
        'warning': verdict.warning,
    }
    return dict(
        finite(
            {
                key: round(value, 6) if isinstance(value, float) else value
                for key, value in facts.items()
            }
        )
    )


def _shortened(names: Sequence[str]) -> list[str]:
    more = len(names) - _NAMED
    return [*names[:_NAMED], *([f'and {more} more'] if more > 0 else [])]


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return 'unknown'
