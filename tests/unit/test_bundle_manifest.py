"""A manifest is refused for each mistake, by the name of what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import copy
import math
from typing import Any

import pytest
import yaml

from ros_ood_monitor.bundle import bundle_digest
from ros_ood_monitor.bundle.manifest import parse_manifest, Tolerance
from ros_ood_monitor.errors import BundleError

GOOD: dict[str, Any] = {
    'format': 1,
    'name': 'good',
    'input': {'height': 24, 'width': 32, 'color': 'rgb', 'resize': 'whole_frame_area'},
    'features': {
        'taps': [
            {
                'name': 'blocks.1',
                'output': 'blocks_1',
                'channels': 8,
                'reduction': 4,
                'density': 'flow',
            }
        ]
    },
    'outputs': {'raw_score': {'unit': 'z (sum over taps)'}},
    'precisions': ['fp32'],
    'verify': {'absolute': 0.01, 'relative': 1},
    'digests': {},
    'digest': '0' * 64,
    'a key of a later version': 1,
}


def test_a_good_manifest_is_read_and_unknown_keys_are_kept() -> None:
    manifest = parse_manifest(yaml.safe_dump(GOOD))
    assert (manifest.input_height, manifest.input_width) == (24, 32)
    assert manifest.taps[0].channels == 8
    assert manifest.verify == {'fp32': Tolerance(absolute=0.01, relative=1.0)}
    assert manifest.raw['a key of a later version'] == 1


def test_a_precision_may_have_a_tolerance_of_its_own() -> None:
    node = copy.deepcopy(GOOD)
    node['precisions'] = ['fp32', 'fp16', 'cpu-int8']
    node['verify']['cpu-int8'] = {'absolute': 0.5, 'relative': 0.02}
    manifest = parse_manifest(yaml.safe_dump(node))
    common = Tolerance(absolute=0.01, relative=1.0)
    own = Tolerance(absolute=0.5, relative=0.02)
    assert manifest.verify == {'fp32': common, 'fp16': common, 'cpu-int8': own}


def _set(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(node: dict[str, Any]) -> None:
        *parents, last = path.split('.')
        for part in parents:
            node = node[part]
        node[last] = value

    return change


@pytest.mark.parametrize(
    ('change', 'match'),
    [
        (_set('format', 2), r'too new: this version reads up to 1, got 2; update ros_ood_monitor'),
        (_set('format', 0), 'at least 1'),
        (_set('format', True), "'format' has the wrong type"),
        (_set('input', {}), "lacks 'input.resize'"),
        (_set('input.resize', 'centre_crop'), "resize rule is unknown.*'centre_crop'"),
        (_set('input.color', 'bgr'), "expected 'rgb', got 'bgr'"),
        (_set('input.height', '24'), "'input.height' has the wrong type: expected int, got str"),
        (_set('input.width', 0), 'at least 1x1, got 0x24'),
        (_set('input.tiles', 4), "'input.tiles' has the wrong type: expected list, got int"),
        (_set('input.tiles', [2, 0]), r'must be rows and columns, got \[2, 0\]'),
        (_set('input.tiles', [2, 'x']), 'must be rows and columns'),
        (_set('input.tiles', [5, 2]), 'input of 32x24 has no 5x2 equal tiles'),
        (_set('features.taps', []), 'needs a tap and a precision, got 0 and 1'),
        (_set('features.taps', [{'name': 'x'}]), "lacks 'output'"),
        (_set('precisions', []), 'got 1 and 0'),
        (_set('outputs', 3), "lacks 'outputs.raw_score.unit'"),
        (_set('verify.fp32', {'absolute': 1.0}), "lacks 'verify.fp32.relative'"),
        (_set('verify.fp32', 0.1), "lacks 'verify.fp32.absolute'"),
        (_set('map', {'density': 'flow', 'taps': [3]}), "lacks 'name'"),
        (_set('verify.absolute', -1.0), "'verify.absolute' must be at least 0 .* got -1.0"),
        (_set('verify.relative', math.nan), "'verify.relative' must be .* finite, got nan"),
        (_set('verify.map_absolute', math.inf), "'verify.map_absolute' must be .* got inf"),
        (_set('verify.absolute', 16**300), 'more than 63 bits'),
        (_set('digests', []), "'digests' has the wrong type: expected dict, got list"),
    ],
)
def test_each_mistake_is_refused_by_name(
    change: Callable[[dict[str, Any]], None], match: str
) -> None:
    node = copy.deepcopy(GOOD)
    change(node)
    with pytest.raises(BundleError, match=match):
        parse_manifest(yaml.safe_dump(node))


@pytest.mark.parametrize(
    ('text', 'match'),
    [
        ('- 1', 'must be a mapping, got list'),
        ('a: [', 'no YAML: .* in line 1, column 5; copy'),
        ('', 'got NoneType'),
        ('format: 1\ncreated: 2026-13-45', 'expected plain YAML, got ValueError: month must be'),
        ('a: !!bool x', 'expected plain YAML, got KeyError'),
        ('a: ' + '[' * 1000 + ']' * 1000, 'expected plain YAML, got RecursionError'),
        ('a: ' + '[' * 40 + ']' * 40, 'nested too deeply: expected at most 32 levels'),
        ('a: &a [*a]', 'nested too deeply'),
        ('a: &a {b: [*a, *a], c: *a}', 'too large'),
        ('a: {1: a, b: c}', 'keys must be text, got 1'),
    ],
)
def test_what_is_no_mapping_is_refused(text: str, match: str) -> None:
    with pytest.raises(BundleError, match=match):
        parse_manifest(text)


def test_a_few_lines_of_aliases_are_no_way_to_a_manifest_without_end() -> None:
    tens = ''.join(f'a{k}: &a{k} [{", ".join([f"*a{k - 1}"] * 10)}]\n' for k in range(1, 12))
    with pytest.raises(BundleError, match='too large: expected at most 1000000 values'):
        parse_manifest(f'a0: &a0 [x]\n{tens}')


def test_what_no_digest_can_be_made_of_is_refused() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    for content in ({'a': cycle}, {'a': {1: 2, 'b': 3}}, {'a': {(1, 2): 3}}):
        with pytest.raises(BundleError, match=r'plain values by plain keys .*re-export'):
            bundle_digest(content)


def test_whatever_stands_in_a_manifest_it_is_read_or_refused() -> None:
    odd = (None, True, 3, 1.5, float('nan'), '', 'a.b', [], [3], [[]], {}, {'fp32': 3}, {1: 2})
    good = {**GOOD, 'map': {'density': 'flow', 'taps': GOOD['features']['taps']}}
    refused = 0
    for place in _places(good):
        for value in odd:
            node = copy.deepcopy(good)
            parent: Any = node
            for part in place[:-1]:
                parent = parent[part]
            parent[place[-1]] = value
            try:
                bundle_digest(parse_manifest(yaml.safe_dump(node)).raw)
            except BundleError:
                refused += 1
    assert refused > 200


def _places(node: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Return the way to every value, itself a mapping or not."""
    if place:
        yield place
    parts = enumerate(node) if isinstance(node, list) else getattr(node, 'items', list)()
    for key, value in parts:
        yield from _places(value, (*place, key))


def test_yaml_that_would_run_code_is_refused() -> None:
    with pytest.raises(BundleError, match='no YAML'):
        parse_manifest('!!python/object/apply:os.system [true]')
