"""``ood_monitor inspect``: what a bundle is."""

from __future__ import annotations

import argparse
import json
from typing import Any

__all__ = ['add_parser', 'run']


def add_parser(subparsers: Any) -> None:
    """Register the verb."""
    parser = subparsers.add_parser('inspect', help='what a bundle is', description=__doc__)
    parser.add_argument('bundle', help='folder or .zip of a bundle, or the name of a shipped one')
    parser.add_argument('--json', action='store_true', help='print the whole manifest as JSON')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the bundle's card."""
    from ros_ood_monitor.bundle import Bundle
    from ros_ood_monitor.share import bundle_path

    bundle = Bundle.load(bundle_path(args.bundle))
    if args.json:
        print(json.dumps({**bundle.manifest.raw, 'digest': bundle.digest}, indent=2, default=str))
    else:
        print('\n'.join(_card(bundle)))
    return 0


def _card(bundle: Any) -> list[str]:
    manifest = bundle.manifest
    raw = manifest.raw
    backbone = raw.get('backbone', {})
    sizes = {name: len(bundle.read(name)) for name in manifest.digests}
    lines = [
        f'{manifest.name}  ({bundle.path})',
        f'  digest      {bundle.digest}',
        f'  created     {raw.get("created", "unknown")}',
        f'  size        {sum(sizes.values()) / 1e6:.1f} MB in {len(sizes) + 1} files',
        f'  input       {manifest.input_width}x{manifest.input_height} rgb, whole frame resized',
        f'  backbone    {backbone.get("name", "?")}, weights {backbone.get("weights", "?")}',
        f'  raw_score   {manifest.unit}, higher = more anomalous',
        f'  precisions  {", ".join(manifest.precisions)}',
        '  taps        '
        + ', '.join(f'{t.name} ({t.channels}, {t.density})' for t in manifest.taps),
    ]
    for precision in manifest.precisions:
        calibration = bundle.calibration(precision)
        point = calibration.operating_point
        rate = 'established' if point.rate_established else 'NOT established'
        lines += [
            f'  {precision} operating point',
            f'    trigger   over {point.trigger:.4g} in {point.trigger_frames} frames in a row',
            f'    release   under {point.release:.4g} in {point.release_frames} frames in a row',
            f'    set for   {point.alpha:.2%} of frames, on {calibration.raw_score.size} held out',
            f'    false-alarm rate per hour: {rate}',
        ]
    lines += [f'  {key:<10}  {value}' for key, value in _flat('training', raw.get('training', {}))]
    lines += [f'  licence of {key}: {value}' for key, value in raw.get('licences', {}).items()]
    return lines


def _flat(prefix: str, node: Any) -> list[tuple[str, Any]]:
    if isinstance(node, dict):
        return [row for key, value in node.items() for row in _flat(f'{prefix}.{key}', value)]
    return [(prefix, node)]
