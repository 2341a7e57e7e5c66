"""``ood_monitor inspect``: what a bundle is."""

from __future__ import annotations

import argparse
from dataclasses import asdict
import json
import math
import re
from typing import Any

from ros_ood_monitor.json_values import finite, number_at

__all__ = ['add_parser', 'run']


def add_parser(subparsers: Any) -> None:
    """Register the verb."""
    parser = subparsers.add_parser(
        'inspect',
        help='what a bundle is',
        description='Prints what a bundle is: its input, detectors, thresholds, what is known of '
        'its false alerts per hour, its training data and licences.',
    )
    parser.add_argument('bundle', help='folder or .zip of a bundle, or the name of a shipped one')
    parser.add_argument(
        '--json',
        action='store_true',
        help='print all there is as JSON: the manifest with every setting, version and curve of '
        'the training, the digest, the operating points',
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the bundle's card."""
    from ros_ood_monitor.bundle import Bundle
    from ros_ood_monitor.share import bundle_path

    bundle = Bundle.load(bundle_path(args.bundle))
    if args.json:
        print(json.dumps(_everything(bundle), indent=2, default=str, allow_nan=False))
    else:
        print('\n'.join(card(bundle)))
    return 0


def _everything(bundle: Any) -> dict[str, Any]:
    from ros_ood_monitor.calibration import trigger_support

    points = {}
    for precision in bundle.manifest.precisions:
        calibration = bundle.calibration(precision)
        above, _ = trigger_support(calibration)
        points[precision] = {
            **asdict(calibration.operating_point),
            'held_out': calibration.raw_score.size, 'held_out_above_trigger': above,
            'map': calibration.map and asdict(calibration.map),
        }  # fmt: skip
    facts = {**bundle.manifest.raw, 'digest': bundle.digest, 'operating_points': points}
    return dict(finite(facts))


def card(bundle: Any) -> list[str]:
    """Return what is to be told of a bundle, as lines."""
    manifest = bundle.manifest
    raw = manifest.raw
    backbone, training = _part(raw, 'backbone'), _part(raw, 'training')
    sizes = {name: len(bundle.read(name)) for name in manifest.digests}
    size = f'{sum(sizes.values()) / 1e6:.1f} MB in {len(sizes) + 1} files'
    licences = ', '.join(f'{key} {value}' for key, value in _part(raw, 'licences').items())
    return [
        f'{manifest.name}  ({bundle.path})',
        f'  digest       {bundle.digest}',
        f'  created      {raw.get("created", "unknown")}, format {raw["format"]}, {size}',
        f'  input        {manifest.input_text}, rgb, whole frame resized',
        f'  backbone     {backbone.get("name", "?")}, weights {backbone.get("weights", "?")}',
        f'  raw_score    {manifest.unit}, higher = more anomalous',
        *_taps(manifest),
        *_choice(training),
        *_wild(training),
        *_map(bundle),
        *_calibration(bundle),
        *_maps(bundle),
        *_precision_warnings(training, manifest.precisions),
        f'  health       {_health(manifest.health)}',
        f'  data         {_data(training)}',
        f'  licences     {licences or "not stated"}',
    ]


def _part(node: Any, *keys: str) -> dict[str, Any]:
    """Return what a manifest need not hold; empty where it holds nothing of the kind there."""
    for key in keys:
        node = node.get(key) if isinstance(node, dict) else None
    return node if isinstance(node, dict) else {}


def _row(node: dict[str, Any], key: str) -> list[Any]:
    """Return such a list."""
    value = node.get(key)
    return value if isinstance(value, list) else []


def _taps(manifest: Any) -> list[str]:
    """Return the table of taps; a bundle need not tell how its densities came about."""
    from ros_ood_monitor.cli.wording import density_text, NO_NLL

    facts = _part(manifest.raw, 'training', 'taps')
    lines = [f'  {"tap":<10} {"channels":>8} {"px/cell":>7}  {"density":<24} {"z per nat":>9}']
    for tap in manifest.taps:
        fact = _part(facts, tap.name)
        # a tap's nll is divided by its held-out deviation before the sum
        deviation = number_at(fact, 'nll_std')
        weight = f'{1.0 / deviation:.4f}' if deviation > 0.0 and tap.density not in NO_NLL else ''
        gaussian = fact.get('shrinkage') is not None
        lines.append(
            f'  {tap.name:<10} {tap.channels:>8} {tap.reduction:>7}  '
            f'{density_text(tap.density, fact.get("step"), gaussian=gaussian):<24} '
            f'{weight:>9}  {_facts(_part(fact, "facts"))}'.rstrip()
        )
    return lines


def _facts(facts: dict[str, Any], points: str = 'training frames') -> str:
    """Return what else there is to tell of a detector, such as a coreset's size."""
    units = {
        'components': 'components',
        'classes': 'classes',
        'coreset': points,
        'mib': 'MiB',
    }
    told = {key: number_at(facts, key) for key in facts if key in units}
    return ', '.join(f'{value:g} {units[key]}' for key, value in told.items())


def _choice(training: dict[str, Any]) -> list[str]:
    """Say how detector and taps were chosen, where that is told."""
    from ros_ood_monitor.cli.wording import choice_text

    choice = _part(training, 'choice')
    if not choice:
        return []
    density, start = str(choice.get('density', '?')), (_row(choice, 'taps') or ['?'])[0]
    first = next(iter(_part(choice, 'auroc_from_tap_on', density)), None)
    text = choice_text(
        density, start, number_at(choice, 'gain'), number_at(choice, 'standard_error'),
        is_default=density == 'auto' and start == first,
        of=choice.get('candidates', 0), blind=choice.get('better_than_chance') is False,
    )  # fmt: skip
    return [
        f'  chosen       {text}; AUROC on near pseudo-OOD {choice.get("auroc", "?")}, of the '
        f'default {choice.get("default", "?")}'
    ]


def _wild(training: dict[str, Any]) -> list[str]:
    """Say what wild frames taught, where that is told."""
    wild = _part(training, 'wild')
    if not wild:
        return []
    over = _part(wild, 'over_boundary', 'woods')
    known, others = (
        ' of '.join(map(str, _row(over, key) or ('?', '?'))) for key in ('calibration', 'wild')
    )
    worth = (
        'its constraint does not hold'
        if not wild.get('constraint_holds')
        else 'it learnt from them'
        if wild.get('has_learnt')
        else 'it learnt nothing'
    )
    return [
        f'  wild         woods over its boundary for alpha = {wild.get("alpha", "?")}: {known} '
        f'calibration frames, {others} held-out wild frames; {worth}'
    ]


def _map(bundle: Any) -> list[str]:
    """Say what the map is made of, where that is told."""
    facts = _part(bundle.manifest.raw, 'map')
    if not facts:
        return []
    height, width = (*_row(facts, 'grid'), '?', '?')[:2]
    names = ', '.join(tap.name for tap in bundle.manifest.map_taps)
    made = _facts(_part(bundle.manifest.raw, 'training', 'map', 'facts'), 'cells')
    return [
        f'  map          {width}x{height} cells of {names}: {facts.get("density", "?")}'
        + (f', {made}' if made else '')
    ]


def _calibration(bundle: Any) -> list[str]:
    """Return the lines of all precisions; what several have in common is said once."""
    support: dict[str, list[str]] = {}
    alert: dict[str, list[str]] = {}
    thresholds = {}
    for precision in bundle.manifest.precisions:
        calibration = bundle.calibration(precision)
        point = calibration.operating_point
        thresholds[precision] = point.trigger, point.release
        support.setdefault(_support(calibration), []).append(precision)
        alert.setdefault(_alert(point), []).append(precision)
    lines = []
    for text, names in support.items():
        told, _, warning = text.partition('\n')
        lines.append(f'  calibration  {", ".join(names)}: {told}')
        lines += [f'  WARNING      {warning}'] if warning else []
    several = len(thresholds) > 1
    for text, names in alert.items():
        if not several:
            trigger, release = thresholds[names[0]]
            text = text.replace('TRIGGER', f'{trigger:.4g}').replace('RELEASE', f'{release:.4g}')
            return [*lines, f'  operating    {text}']
        text = text.replace('TRIGGER', 'the trigger').replace('RELEASE', 'the release')
        lines.append(f'  operating    {text}')
        lines += [
            f'    {name:<10} trigger {thresholds[name][0]:.4g}, release {thresholds[name][1]:.4g}'
            + (' (the default)' if name == bundle.manifest.precisions[0] else '')
            for name in names
        ]
    return lines


def _maps(bundle: Any) -> list[str]:
    """Return what 0 and 1 of a heat-map are; nothing for a bundle without a map."""
    from ros_ood_monitor.calibration import map_warning

    found = {name: bundle.calibration(name) for name in bundle.manifest.precisions}
    warned = dict.fromkeys(filter(None, map(map_warning, found.values())))
    return [
        f'  heat-map     {name}: 0 is a patch_score of {one.map.normal:.4g}, 1 of '
        f'{one.map.threshold:.4g}; set for {one.map.alpha:.2%} of frames'
        for name, one in found.items()
        if one.map is not None
    ] + [f'  WARNING      {warning}' for warning in warned]


def _support(calibration: Any) -> str:
    """Return on what the trigger rests, and in a second line what to be warned of."""
    from ros_ood_monitor.calibration import trigger_support, trigger_warning
    from ros_ood_monitor.cli.wording import count

    above, needed = trigger_support(calibration)
    return (
        f'{count(calibration.raw_score.size, "held-out frame")}, {above} of them over the trigger'
        + (f' (10 would be with {needed})' if needed else '')
        + f'\n{trigger_warning(calibration)}'
    )


def _alert(point: Any) -> str:
    from ros_ood_monitor.cli.wording import count

    rate = 'established' if point.rate_established else 'not established'
    settings = ''.join(f', {name} {value:.4g}' for name, value in point.settings.items())
    if point.logic == 'consecutive':
        frames = count(point.trigger_frames, 'frame')
        how = f'over TRIGGER in {frames} in a row; end: under RELEASE in {point.release_frames}'
    else:
        how = f'{point.logic}; threshold of single frames TRIGGER'
    share = '' if math.isnan(point.alpha) else f'; set for {point.alpha:.2%} of frames'
    known = '' if point.rate is None else f': {point.rate}'
    return f'alert: {how}{settings}{share}; false alerts per hour: {rate}{known}'


def _precision_warnings(training: dict[str, Any], shipped: Any) -> list[str]:
    """Return what the gate could not establish of the precisions that are there."""
    return [
        f'  WARNING      {row["warning"]}'
        for row in _row(training, 'precisions')
        if isinstance(row, dict) and row.get('precision') in shipped and row.get('warning')
    ]


def _health(table: Any) -> str:
    """Say from where the limits of input health come, and what they are."""
    from ros_ood_monitor.cli.wording import count
    from ros_ood_monitor.health import HealthLimits, MEASURES

    limits = HealthLimits.from_table(table)
    names = [name for name in MEASURES if table or name in limits.limits]
    made = ', '.join(f'{name} {limits.passes(name)}' for name in names)
    if not limits.frames:
        return f'no table of the training frames; fixed limits: {made}'
    sizes = ', '.join(f'{width}x{height}' for width, height in limits.sizes) or 'many sizes'
    return f'limits of {count(limits.frames, "frame")} ({sizes}): {made}'


def _data(training: dict[str, Any]) -> str:
    from ros_ood_monitor.cli.wording import count

    frames = training.get('frames')
    if not isinstance(frames, dict):
        return f'frames: {frames}' if frames else 'not stated'
    names = _row(training, 'sequences')
    more = re.fullmatch(r'and (\d+) more', str(names[-1])) if names else None
    sequences = len(names) - 1 + int(more[1]) if more else len(names)
    parts = ', '.join(f'{frames.get(k, "?")} {k}' for k in ('fit', 'validation', 'calibration'))
    return (
        f'{count(frames.get("used", 0), "frame")} of {count(sequences, "sequence")}: {parts} '
        f'(split by {training.get("split", "?")}), {frames.get("skipped", 0)} skipped'
    )
