"""What a reader of a training's result must not overlook: for the command line and the report."""

from __future__ import annotations

from collections.abc import Mapping
import math
from typing import Any, Final, TYPE_CHECKING

from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.bundle.manifest import Manifest
from ros_ood_monitor.calibration import map_warning, trigger_warning
from ros_ood_monitor.training.settings.train_settings import MOST_TILES

if TYPE_CHECKING:  # it brings torch
    from ros_ood_monitor.training.evidence import Evidence
    from ros_ood_monitor.training.labels.unmasked import Unmasked

__all__ = ['MANY_TWINS', 'remarks']

MANY_TWINS: Final = 0.5
"""Share of held-out frames that look like a fitted one from which on a warning says so."""

_LOST_ACCURACY: Final = 0.02
"""Share of held-out frames classified worse from which on a warning says so."""

_NEAR: Final = 2.0
"""Ratio of the loss after forgetting and the constraint up to which it got there."""

_SURE: Final = 1e-3
"""Nats of a constraint below which there is nothing atypical, and hardly a gradient."""

_DISTORTED: Final = 1.3
"""Ratio of the aspects of a tile and of the network's input over which a warning says so."""

_FEW_STEPS: Final = 200
"""Optimiser steps under which a flow that does not start as a Gaussian has hardly moved."""


def remarks(bundle: Bundle, found: Evidence) -> list[str]:
    """
    Return the warnings of a training that came to its end.

    Frames that did not decode and files that are missing are lists of their own.

    Parameters
    ----------
    bundle : Bundle
        What was written.
    found : Evidence
        What the training found.

    Returns
    -------
    list of str
        A sentence each; empty where there is nothing to warn of.

    """
    training = bundle.manifest.raw['training']
    lines = [
        *_thresholds(bundle),
        *_repetition(found, training['frames']['backward_steps']),
        *_tiles(bundle.manifest),
        *_flows(found, training['settings']['flow']),
        *_choice(found),
        *_map(found),
        *_wild(found),
        *_unmask(found),
    ]
    for verdict in found.verdicts:
        if not verdict.ok:
            lines.append(str(verdict))
        elif verdict.warning:
            lines.append(verdict.warning)
    return lines


def _thresholds(bundle: Bundle) -> list[str]:
    """Tell a warning of several precisions once."""
    names: dict[str, list[str]] = {}
    for precision in bundle.manifest.precisions:
        calibration = bundle.calibration(precision)
        for hanging in (trigger_warning(calibration), map_warning(calibration)):
            if hanging:
                names.setdefault(hanging, []).append(precision)
    several = len(bundle.manifest.precisions) > 1
    return [
        (f'{", ".join(of)}: ' if several else '')
        + f'{hanging}; give more frames or a larger --alpha'
        for hanging, of in names.items()
    ]


def _repetition(found: Evidence, backward: int) -> list[str]:
    lines = []
    if backward:
        lines.append(
            f'time runs backwards {backward} time{"" if backward == 1 else "s"} inside the '
            'sequences; the frame rate is taken from the other steps'
        )
    shared = found.repetition.shared
    if shared:
        lines.append(
            f'{shared} frame{" of a sequence is" if shared == 1 else "s of a sequence are"} also '
            'in another one, pixel by pixel, and count twice; give each recording once'
        )
    twins = found.repetition.twins
    if twins > MANY_TWINS:
        lines.append(
            f'{twins:.0%} of the held-out frames look like one that was fitted: their scores are '
            'those of known pictures; hold out other recordings, or thin with --near-duplicates'
        )
    return lines


def _flows(found: Evidence, settings: Mapping[str, Any]) -> list[str]:
    """Warn of flows that do not start as a Gaussian and were hardly trained."""
    lines = []
    started = [
        row for row in found.fitted if row.record.density == 'flow' and row.record.gaussian is None
    ]
    unmoved = [row.tap.name for row in started if row.record.step == 0]
    if unmoved:
        lines.append(
            f'untrained: the flow of {", ".join(unmoved)} was taken at step 0, where it knows '
            'hardly more than the mean and deviation of each channel, no correlations; give it '
            'more frames or steps, or take --flow default, which starts as a Gaussian'
        )
    few = [row for row in started if row.record.step and row.record.steps < _FEW_STEPS]
    if few:
        made = sorted({row.record.steps for row in few})
        lines.append(
            f'hardly trained: the flow of {", ".join(row.tap.name for row in few)} made '
            f'{" or ".join(map(str, made))} optimiser step{"" if made == [1] else "s"} at a '
            f'learning rate of {settings["learning_rate"]:g}, and does not start as a Gaussian; '
            'give it more frames, --steps 2000 or flow.passes in a settings file, a larger '
            'flow.learning_rate such as 0.0001, or take --flow default'
        )
    return lines


def _tiles(manifest: Manifest) -> list[str]:
    """Warn where frames have no more to show than fewer tiles would, or are distorted."""
    rows, columns = manifest.tiles
    sizes = (manifest.health or {}).get('sizes', ())  # width and height; none where they are many
    small = [
        f'{width}x{height}'
        for width, height in sizes
        if width < manifest.input_width or height < manifest.input_height
    ]
    if rows * columns == 1:
        return []
    lines = []
    if small:
        lines.append(
            f'frames of {", ".join(small)} px are smaller than the {manifest.input_width}x'
            f'{manifest.input_height} px that {rows}x{columns} tiles have: they are enlarged, '
            'which shows nothing more; fewer --tiles cost less'
        )
    side = manifest.input_width // columns, manifest.input_height // rows
    for width, height in sizes:
        shape = width / height * side[1] / side[0]  # columns a row that keep the aspect
        if _ratio(shape, columns / rows) > _DISTORTED:
            better = _better_tiles(shape, rows * columns)
            lines.append(
                f'a tile of frames of {width}x{height} px is {width / columns:.0f}x'
                f'{height / rows:.0f} px, the network sees it as {side[0]}x{side[1]}: what it '
                f'shows is distorted; --tiles {better[0]}x{better[1]} distorts less'
            )
    return lines


def _ratio(one: float, other: float) -> float:
    return max(one / other, other / one)


def _better_tiles(shape: float, now: int) -> tuple[int, int]:
    """Return rows and columns that hardly distort, as nearly as many tiles as there are now."""
    found = [
        (rows, columns)
        for rows in range(1, MOST_TILES + 1)
        for columns in range(1, MOST_TILES // rows + 1)
        if rows * columns > 1
    ]
    least = max(_DISTORTED, min(_ratio(shape, columns / rows) for rows, columns in found))
    return min(
        (grid for grid in found if _ratio(shape, grid[1] / grid[0]) <= least),
        key=lambda grid: (_ratio(grid[0] * grid[1], now), _ratio(shape, grid[1] / grid[0])),
    )


def _choice(found: Evidence) -> list[str]:
    """Warn where evidence had nothing to choose by."""
    choice = found.choice
    if choice is None or not choice.blind:
        return []
    best = max(choice.candidates, key=lambda one: one.auroc)
    return [
        'the detector was not chosen: no candidate tells frames with a pasted defect from the '
        f'same {len(found.pictures.sources)} frames without it better than chance by its '
        f'standard error (best AUROC {best.auroc:.3f} +- {best.error:.3f}), so '
        f'{choice.taken.density} on all taps was kept; give more frames, or name a --density'
    ]


def _map(found: Evidence) -> list[str]:
    """Warn where the map's detector could not be chosen."""
    choice, fitted = found.map_choice, found.fitted_map
    if choice is None or fitted is None or not all(map(math.isnan, choice.values())):
        return []
    height, width = fitted.plan.grid
    return [
        f"the map's detector was not chosen: no pasted defect covers half of one of the {width}x"
        f'{height} cells, so {fitted.record.density} was taken; choose a finer --map, a larger '
        '--input-size, or name one with --map-density'
    ]


def _wild(found: Evidence) -> list[str]:
    wild = found.wild
    if wild is None:
        return []
    lines = [] if wild.holds and wild.has_learnt else [f'wild frames: {wild.sentence()}']
    if wild.frames.skipped:
        lines.append(f'wild frames: {wild.frames.skipped} did not decode and were left out')
    if wild.frames.shared:
        lines.append(
            f'wild frames: {wild.frames.shared} of {wild.frames.frames} are training frames pixel '
            'by pixel'
        )
    blocks = [
        name
        for name, rule in (('training', found.split.rule), ('wild', wild.split))
        if rule == 'block'
    ]
    if blocks:
        lines.append(
            f'wild frames: {" and ".join(blocks)} frames are held out by block, from recordings '
            'that were fitted, so a head that only tells recordings apart looks good; give four '
            'or more recordings of each kind, and --split sequence'
        )
    if wild.frames.twins > MANY_TWINS:
        lines.append(
            f'wild frames: {wild.frames.twins:.0%} look like a training frame; what they teach '
            'may be how those were recorded'
        )
    return lines


def _unmask(found: Evidence) -> list[str]:
    unmasked = found.unmasked
    if unmasked is None:
        return []
    lines = []
    before, after = unmasked.accuracy['held_out']
    error = math.sqrt(max(before * (1.0 - before), 0.0) / unmasked.counts[1])
    if before - after > max(_LOST_ACCURACY, 2.0 * error):
        lines.append(
            f'{unmasked.settings.method} cost accuracy: {before:.1%} of held-out frames were '
            f'classified rightly before, {after:.1%} are now'
        )
    level, plain = unmasked.constraint.level, float(unmasked.constraint.plain.mean())
    if level < _SURE:
        lines.append(
            'the classifier is sure of every frame even with weights dropped: the constraint is '
            f'{level:.3g} nats, so that {unmasked.settings.method} has next to nothing to change; '
            f'take fewer unmask.passes (now {unmasked.settings.passes}) or a lower unmask.keep'
        )
    elif plain >= level:
        lines.append(
            f'there was nothing to forget: the loss was {plain:.3g} nats, the constraint is '
            f'{level:.3g}; a lower unmask.keep, or more unmask.passes before it, would change that'
        )
    if not level / _NEAR <= unmasked.loss <= level * _NEAR:
        lines.append(_missed(unmasked))
    gain = unmasked.detector
    if gain is not None and not gain.helped:
        before, after = gain.near
        lines.append(
            f'{unmasked.settings.method} did not help the detector of this bundle: its AUROC of '
            f'near pseudo-OOD is {before:.3f} with the pretrained backbone and {after:.3f} with '
            f'this one (standard error of the difference {gain.gain.standard_error:.3f}); compare '
            'with a bundle trained without --unmask'
        )
    return lines


def _missed(unmasked: Unmasked) -> str:
    """Say that the loss is not where it should be, and what would bring it there."""
    settings, rising = unmasked.settings, unmasked.forgetting.rising
    below = unmasked.loss < unmasked.constraint.level
    if below and rising == 1.0:
        how = 'it rose at every step and did not get there'
    elif not below and rising == 0.0:
        how = 'it stayed above at every step'
    else:
        how = f'it was below, and rose, at {rising:.0%} of the steps'
    name = 'popup_learning_rate' if settings.method == 'umap' else 'learning_rate'
    fewer = f'fewer unmask.passes (now {settings.passes}), ' if below else ''
    return (
        f'{settings.method} missed the constraint: the loss is {unmasked.loss:.3g} nats, not near '
        f'{unmasked.constraint.level:.3g}; {how}; take {fewer}more unmask.forget_passes (now '
        f'{settings.forget_passes}) or a higher unmask.{name} (now {getattr(settings, name):g})'
    )
