"""What ``ood_monitor train`` says at its end."""

from __future__ import annotations

from typing import Any

from ros_ood_monitor.cli.wording import count, density_text, DISTANCES, trigger_warning

__all__ = ['summary', 'warnings']

_MANY_TWINS = 0.5
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
    lines = []
    if result.skipped:
        used = result.bundle.manifest.raw['training']['frames']['used']
        total = count(used + len(result.skipped), 'frame')
        lines.append(f'skipped {len(result.skipped)} of {total}:')
        lines += [f'  {name}: {reason}' for name, reason in result.skipped[:20]]
    lines += [f'missing or damaged: {name}' for name in result.missing]
    hanging = trigger_warning(result.bundle.calibration())
    if hanging:
        lines.append(f'{hanging}; give more frames or a larger --alpha')
    backward = result.bundle.manifest.raw['training']['frames']['backward_steps']
    if backward:
        lines.append(
            f'time runs backwards {count(backward, "time")} inside the sequences; '
            'the frame rate is taken from the other steps'
        )
    shared = result.found.repetition.shared
    if shared:
        lines.append(
            f'{count(shared, "frame")} of a sequence {"is" if shared == 1 else "are"} also in '
            'another one, pixel by pixel, and count twice; give each recording once'
        )
    unmoved = [
        row.tap.name
        for row in result.found.fitted
        if row.record.density == 'flow' and row.record.step == 0 and row.record.gaussian is None
    ]
    if unmoved:
        lines.append(
            f'untrained: the flow of {", ".join(unmoved)} was taken at step 0, where it knows '
            'hardly more than the mean and deviation of each channel, no correlations; give it '
            'more frames or steps, or take --flow default, which starts as a Gaussian'
        )
    twins = result.found.repetition.twins
    if twins > _MANY_TWINS:
        lines.append(
            f'{twins:.0%} of the held-out frames look like one that was fitted: their scores are '
            'those of known pictures; hold out other recordings, or thin with --near-duplicates'
        )
    lines += [str(verdict) for verdict in result.found.verdicts if not verdict.ok]
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
    sizes = [len(bundle.read(file)) for file in bundle.manifest.digests]
    return [
        *lines,
        'nll: mean over validation frames (of fit: over fitted ones), in nats'
        + _no_density(result.found.fitted)
        + '; step: '
        + _RULES[bundle.manifest.raw['training']['settings']['flow']['choose']],
        *_choice(result.found.choice),
        f'frames     {len(split.fit)} fitted, {len(split.validation)} validation, '
        f'{len(split.calibration)} calibration (split by {split.rule})'
        + (
            f'; {distinct} different pictures' if distinct < result.found.repetition.frames else ''
        ),
        f'threshold  trigger {point.trigger:.4g}, release {point.release:.4g} for alpha = '
        f'{point.alpha:g} of frames; a false-alarm rate per hour is not established',
        f'time       {timings} s',
        f'bundle     {bundle.path} ({sum(sizes) / 1e6:.1f} MB), digest {bundle.digest[:12]}',
    ]


def _no_density(fitted: Any) -> str:
    """Name the detectors whose scores are no nll."""
    names = {row.record.density for row in fitted} & DISTANCES
    return f' ({", ".join(sorted(names))}: their distance)' if names else ''


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
    if taken is default:
        return [*lines, 'taken      the default: none is better']
    return [
        *lines,
        f'taken      {taken.density} from {taken.taps[0]} on, better than the default by '
        f'{taken.gain:.3f} +- {taken.standard_error:.3f}'
        + (', which is within chance' if choice.within_chance else ''),
    ]
