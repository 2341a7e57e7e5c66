"""A bundle with other operating points: the same files, but for calibrations and the manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
import datetime as dt
from pathlib import Path
from typing import Any

from ros_ood_monitor.bundle import Bundle, precision_files, write_bundle
from ros_ood_monitor.rate_calibration import RateCalibration

__all__ = ['write_recalibrated']


def write_recalibrated(
    bundle: Bundle,
    out: Path | str,
    found: Mapping[str, RateCalibration],
    *,
    recordings: Sequence[str],
    seed: int,
    overwrite: bool = False,
) -> Bundle:
    """
    Write a bundle with new operating points; a report beside the old one stays behind.

    Parameters
    ----------
    bundle : Bundle
        What was calibrated.
    out : Path or str
        Folder of the new one.
    found : mapping of str to RateCalibration
        By precision; others keep the operating point that they have.
    recordings : sequence of str
        Names of what it was calibrated on.
    seed : int
        Of the split.
    overwrite : bool, default False
        Whether a bundle there is replaced.

    Returns
    -------
    Bundle
        Loaded from where it was written.

    Raises
    ------
    BundleError
        If it cannot be written there.

    """
    files = {name: bundle.read(name) for name in bundle.manifest.digests}
    for precision, one in found.items():
        calibration = replace(bundle.calibration(precision), operating_point=one.point)
        files[precision_files(precision)[1]] = calibration.to_bytes()
    raw = bundle.manifest.raw
    now = dt.datetime.now(dt.timezone.utc).replace(microsecond=0)
    manifest: dict[str, Any] = {
        key: value for key, value in raw.items() if key not in ('format', 'digests', 'digest')
    }
    manifest['created'] = now.isoformat().replace('+00:00', 'Z')
    before = manifest.get('calibration')
    manifest['calibration'] = {
        **(before if isinstance(before, dict) else {}),
        **{
            precision: {**one.card(), 'recordings': list(recordings), 'seed': seed}
            for precision, one in found.items()
        },
    }
    training = manifest.get('training')
    if isinstance(training, dict):
        points = {
            name: bundle.calibration(name).operating_point for name in bundle.manifest.precisions
        }
        points |= {name: one.point for name, one in found.items()}
        told = '; '.join(f'{name}: {point.rate_text}' for name, point in points.items())
        manifest['training'] = {**training, 'false_alarm_rate': told}
    return write_bundle(out, manifest=manifest, files=files, overwrite=overwrite)
