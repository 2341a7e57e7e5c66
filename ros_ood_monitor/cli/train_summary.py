"""What ``ood_monitor train`` says at its end."""

from __future__ import annotations

import math
from typing import Any

from ros_ood_monitor.cli.wording import choice_text, count, density_text, NO_NLL

__all__ = ['summary', 'warnings']

_RULES = {
    'one_standard_error': 'the earliest within one standard error of the lowest nll, which may be '
    'the start',
    'last': 'the last one',
}


def warnings(result: Any) -> list[str]:
    """
    Return what a reader must not overlook.

    Parameters
    ----------
    result : TrainResult
        What came out.

    Returns
    -------
    list of str
        A line each.

    """
    from ros_ood_monitor.training.remarks import remarks

    lines = []
    if result.skipped:
        used = result.bundle.manifest.raw['training']['frames']['used']
        total = count(used + len(result.skipped), 'frame')
        lines.append(f'skipped {len(result.skipped)} of {total}:')
        lines += [f'  {name}: {reason}' for name, reason in result.skipped[:20]]
    lines += [f'missing, damaged or out of order: {name}' for name in result.missing]
    lines += remarks(result.bundle, result.found)
    if result.report:
        lines.append(f'there is no report: {result.report}')
    return lines


def summary(result: Any) -> list[str]:
    """
    Return the table of taps and the facts of the bundle.

    Parameters
    ----------
    result : TrainResult
        What came out.

    Returns
    -------
    list of str
        A line each.

    """
    lines = [
        f'{"tap":<9} {"D":>5}  {"density":<24} {"of":>5} {"shrinkage":>9} '
        f'{"nll at start":>12} {"nll":>9} {"nll of fit":>10} {"s":>6}'
    ]
    for row in result.found.fitted:
        record = row.record
        known = record.gaussian is not None
        shrinkage = f'{record.gaussian.shrinkage:.3f}' if known else '-'
        lines.append(
            f'{row.tap.name:<9} {row.tap.channels:>5}  '
            f'{density_text(record.density, record.step, gaussian=known):<24} {record.steps:>5} '
            f'{shrinkage:>9} {record.nll_at_start:>12.2f} '
            f'{record.nll:>9.2f} {record.fit_nll:>10.2f} {row.seconds:>6.1f}'
        )
    bundle, split = result.bundle, result.found.split
    distinct = result.found.repetition.distinct
    lines += [str(verdict) for verdict in result.found.verdicts if verdict.ok]
    timings = ', '.join(f'{name} {seconds:.1f}' for name, seconds in result.found.seconds.items())
    point = bundle.calibration().operating_point
    rule = bundle.manifest.raw['training']['settings']['flow']['choose']
    has_flow = any(row.record.density == 'flow' for row in result.found.fitted)
    sizes = [len(bundle.read(file)) for file in bundle.manifest.digests]
    return [
        *lines,
        'nll: mean over validation frames (of fit: over fitted ones), in nats'
        + _no_density(result.found.fitted)
        + (f'; step: {_RULES[rule]}' if has_flow else ''),
        *_choice(result.found.choice),
        *_wild(result.found.wild),
        *_unmask(result.found.unmasked),
        *_tiles(bundle.manifest),
        *_map(result),
        *_coresets(result),
        f'frames     {len(split.fit)} fitted, {len(split.validation)} validation, '
        f'{len(split.calibration)} calibration (split by {split.rule})'
        + (
            f'; {distinct} different pictures' if distinct < result.found.repetition.frames else ''
        ),
        f'threshold  trigger {point.trigger:.4g}, release {point.release:.4g}'
        + ('' if math.isnan(point.alpha) else f' for alpha = {point.alpha:g} of frames')
        + ('' if result.found.rates else '; false alerts per hour: not established'),
        *(f'rate       {name}: {rate}' for name, rate in result.found.rates.items()),
        f'time       {timings} s',
        f'bundle     {bundle.path} ({sum(sizes) / 1e6:.1f} MB), digest {bundle.digest[:12]}',
    ]


def _no_density(fitted: Any) -> str:
    """Name the detectors whose scores are no nll."""
    names = {row.record.density for row in fitted}
    if 'woods' in names:
        return ' (woods: its share in the logit)'
    names &= NO_NLL
    return f' ({", ".join(sorted(names))}: their score)' if names else ''


def _wild(wild: Any) -> list[str]:
    """Say what wild frames taught, beside what was fitted without them."""
    if wild is None:
        return []
    (known_over, known), (over, held_out) = wild.head.known, wild.head.wild
    beside = wild.beside
    return [
        f'wild       {count(wild.frames.frames, "frame")}; over the boundary of woods, for alpha '
        f'= {wild.alpha:g}: {known_over} of {known} calibration frames, {over} of {held_out} '
        'held-out wild frames',
        f'           of {beside.density}: {beside.known[0]} and {beside.wild[0]}; '
        + wild.sentence(),
    ]


def _tiles(manifest: Any) -> list[str]:
    """Say what a frame is cut into, where it is."""
    return [] if manifest.tiles == (1, 1) else [f'input      {manifest.input_text}']


def _unmask(unmasked: Any) -> list[str]:
    """Say what the labels did to the backbone."""
    if unmasked is None:
        return []
    settings, constraint = unmasked.settings, unmasked.constraint
    shares = (
        f'{part.replace("_", "-")} {before:.3f} before, {after:.3f} after'
        for part, (before, after) in unmasked.accuracy.items()
    )
    counts = unmasked.forgetting.kept.values()
    kept = sum(kept for kept, _ in counts)
    return [
        f'unmask     {settings.method} of {settings.part}: loss {constraint.plain.mean():.3g}, '
        f'constraint {constraint.level:.3g} (keep {settings.keep:g}), loss now '
        f'{unmasked.loss:.3g}'
        + (f'; mask keeps {kept} of {sum(of for _, of in counts)} weights' if counts else ''),
        f'           accuracy of {len(unmasked.classes)} classes: {", ".join(shares)}',
        *_gain(unmasked.detector),
    ]


def _gain(gain: Any) -> list[str]:
    """Say what the bundle's detector gained by another backbone, where that was compared."""
    if gain is None:
        return []
    before, after = gain.near
    return [
        f'           AUROC of near pseudo-OOD by the detector: {before:.3f} with the pretrained '
        f'backbone, {after:.3f} with this one'
    ]


def _map(result: Any) -> list[str]:
    """Say what the map is made of, and what it was chosen by."""
    fitted = result.found.fitted_map
    if fitted is None:
        return ['map        none']
    height, width = fitted.plan.grid
    names = ', '.join(tap.name for tap in fitted.plan.taps)
    lines = [
        f'map        {width}x{height} cells of {names}: {fitted.record.density}, fitted to '
        f'{count(fitted.rows, "cell")}; threshold '
        f'{result.bundle.calibration().map.threshold:.4g}'
    ]
    choice = result.found.map_choice
    if choice is None:
        return lines
    if all(map(math.isnan, choice.values())):
        return lines
    found = ', '.join(f'{name} {area:.3f}' for name, area in choice.items())
    return [*lines, f'           AUROC on cells of pasted defects: {found}']


def _coresets(result: Any) -> list[str]:
    """Say how many points knn keeps, and where there are fewer than were asked for."""
    fitted_map = result.found.fitted_map
    records = {row.tap.name: row.record for row in result.found.fitted}
    records |= {} if fitted_map is None else {'map': fitted_map.record}
    wanted = result.bundle.manifest.raw['training']['settings'].get('coreset')
    told = []
    for name, record in records.items():
        points = record.facts.get('coreset')
        if points is not None:
            few = wanted is not None and points < wanted
            told.append(
                f'{name} {count(int(points), "point")} ({record.facts["mib"]:.2f} MiB)'
                + (f', all rows there are of {wanted} asked for' if few else '')
            )
    return [f'coreset    {"; ".join(told)}'] if told else []


def _choice(choice: Any) -> list[str]:
    """Say what was chosen, and of what."""
    if choice is None:
        return []
    best: dict[str, Any] = {}
    for one in choice.candidates:
        if one.density not in best or one.auroc > best[one.density].auroc:
            best[one.density] = one
    default = choice.default
    lines = [
        f'evidence   AUROC on near pseudo-OOD: {default.density} on all taps {default.auroc:.3f}; '
        'best of each: '
        + ', '.join(f'{name} from {one.taps[0]} on {one.auroc:.3f}' for name, one in best.items())
    ]
    taken = choice.taken
    text = choice_text(
        taken.density, taken.taps[0], taken.gain, taken.standard_error,
        is_default=taken is default,
        of=len(choice.candidates), blind=choice.blind,
    )  # fmt: skip
    return [*lines, f'taken      {text}']
