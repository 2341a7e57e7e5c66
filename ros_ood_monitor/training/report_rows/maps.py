"""The map: its facts, and held-out pictures under it."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.maps.colours import ColourScale
from ros_ood_monitor.maps.heatmap import Projection
from ros_ood_monitor.maps.overlay import overlay
from ros_ood_monitor.training.evidence import Evidence
from ros_ood_monitor.training.held_out.deployed import Deployed
from ros_ood_monitor.training.maps.fit import FittedMap
from ros_ood_monitor.training.rows import spread

__all__ = ['map_examples', 'map_facts']

_MAPS: Final = 2


def map_facts(bundle: Bundle, evidence: Evidence) -> dict[str, Any]:
    """Return what the map is, by name; empty where there is none."""
    if evidence.fitted_map is None:
        return {}
    facts = bundle.manifest.raw['map']
    calibration = bundle.calibration().map
    assert calibration is not None
    card = bundle.manifest.raw['training']['map']
    height, width = facts['grid']
    return {
        'density': facts['density'],
        'stages': ', '.join(tap['name'] for tap in facts['taps']),
        'cells': f'{width} x {height}',
        'unit': bundle.manifest.raw['outputs']['patch_score']['unit'],
        'normal (median of held-out cells)': f'{calibration.normal:.3f}',
        f'threshold ({calibration.alpha:g} of frames have a cell over it)': (
            f'{calibration.threshold:.3f}'
        ),
        'fitted to': f'{card["cells"]} cells',
        **_coreset_cost(evidence.fitted_map),
        'normal at each place by': f'{card["statistics_frames"]} validation frames',
        **({'auroc of pasted defects, by cell': card['auroc']} if 'auroc' in card else {}),
    }


def _coreset_cost(fitted: FittedMap) -> dict[str, str]:
    """Return what a coreset costs in every frame; nothing where there is none."""
    points = fitted.record.facts.get('coreset')
    if points is None:
        return {}
    height, width = fitted.plan.grid
    products = height * width * int(points) * fitted.plan.channels
    return {
        'coreset': f'{points:g} cells, {fitted.record.facts["mib"]:.2f} MiB in the scorer; '
        f'{products / 1e6:.0f} million multiplications a frame'
    }


def map_examples(evidence: Evidence) -> dict[str, npt.NDArray[np.uint8]]:
    """Return some held-out frames, and the same with pasted defects, under their maps."""
    if evidence.fitted_map is None:
        return {}
    pictures = evidence.pictures
    some = {'held-out': pictures.sources} | pictures.near(seed=0)
    return {
        kind: _under_maps(evidence.deployed['fp32'], images[spread(len(images), _MAPS)])
        for kind, images in some.items()
    }


def _under_maps(deployed: Deployed, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    _, maps = deployed.score(images)
    calibration = deployed.calibration.map
    assert maps is not None
    assert calibration is not None
    size, grid = images.shape[1:3], maps.shape[1:]
    project = Projection(np.eye(3), image_size=size, input_size=size, grid_size=grid)
    scale = ColourScale(calibration.normal, calibration.threshold)
    return np.stack(
        [overlay(image, project(cells), scale) for image, cells in zip(images, maps, strict=True)]
    )
