"""What the script of the page draws from: curves, pictures and their captions."""

from __future__ import annotations

from collections.abc import Sequence
import math
from typing import Any

from ros_ood_monitor.evaluation.bags.evaluate import BagEvaluation
from ros_ood_monitor.evaluation.bags.html_page.curves import histogram, operating_curves
from ros_ood_monitor.evaluation.bags.html_page.explorer import explorer_data
from ros_ood_monitor.evaluation.bags.html_page.pictures import Picture
from ros_ood_monitor.html_parts import data_url
from ros_ood_monitor.json_values import finite

__all__ = ['caption', 'page_data']


def page_data(
    evaluation: BagEvaluation, curves: list[dict[str, Any]], pictures: Sequence[Picture]
) -> dict[str, Any]:
    """Return what the script draws."""
    places = {(one['bag'], one['camera']): k for k, one in enumerate(curves)}
    origins = {one['bag']: one['origin'] for one in curves}
    return {
        'unit': evaluation.bundle.manifest.unit,
        'threshold': evaluation.threshold,
        'timelines': curves,
        'histogram': histogram(evaluation),
        'curves': operating_curves(evaluation),
        'explorer': explorer_data(evaluation),
        'pictures': [
            {
                'jpeg': data_url(picture.jpeg, 'image/jpeg'),
                'heat': data_url(picture.heat, 'image/jpeg') if picture.heat else '',
                'text': caption(picture),
                'stream': places.get((picture.bag.name, picture.camera), -1),
                'time': picture.stamp - origins.get(picture.bag.name, 0.0),
                'raw_score': finite(picture.raw_score),
            }
            for picture in pictures
        ],
    }


def caption(picture: Picture) -> str:
    """Return a picture's words: where it is from, its score, and why it is shown."""
    scored = picture.bag.scored
    after = picture.stamp - scored.facts.origin
    several = len(scored.facts.cameras) > 1
    camera = f', {picture.camera}' if several else ''
    # as in the overlay's bar
    peak = '' if picture.map_peak is None else f'map {picture.map_peak:.2f} of 1; '
    over = 'over' if picture.raw_score > scored.facts.threshold else 'not over'
    score = (
        f'raw_score {picture.raw_score:.5g}, {over} the threshold'
        if math.isfinite(picture.raw_score)
        else 'no answer'
    )
    return f'{picture.bag.name}{camera}, {after:.2f} s: {score}; {peak}{", ".join(picture.why)}'
