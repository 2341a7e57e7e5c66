"""Every name that is used of TensorRT exists: in what is installed, and in recorded versions."""

from __future__ import annotations

import ast
from functools import reduce
from pathlib import Path

import pytest

import ros_ood_monitor
from ros_ood_monitor.engines.trt_library import USED, USED_OF_RTX, USED_OF_TENSORRT

RECORDED = sorted((Path(__file__).resolve().parents[1] / 'golden/tensorrt_names').glob('*.txt'))
ENGINES = Path(ros_ood_monitor.__file__).parent / 'engines'


@pytest.mark.parametrize('path', RECORDED, ids=lambda path: path.stem)
def test_recorded_versions_have_every_name(path: Path) -> None:
    names = set(path.read_text().split())
    assert {*USED, *USED_OF_TENSORRT} <= names


def test_the_versions_of_jetsons_and_desktops_are_recorded() -> None:
    majors = {path.stem.split('.')[0] for path in RECORDED}
    assert majors == {'10', '11'}


@pytest.mark.parametrize('module', ['tensorrt', 'tensorrt_rtx'])
def test_the_installed_module_has_every_name(module: str) -> None:
    library = pytest.importorskip(module, reason=f'{module} is not installed')
    own = USED_OF_RTX if module == 'tensorrt_rtx' else USED_OF_TENSORRT
    for name in (*USED, *own):
        reduce(getattr, name.split('.'), library)


def test_no_name_is_used_that_is_not_listed() -> None:
    listed = {
        part for name in (*USED, *USED_OF_RTX, *USED_OF_TENSORRT) for part in name.split('.')
    }
    for file in ('build.py', 'trt_engine.py', 'trt_library.py'):
        for node in ast.walk(ast.parse((ENGINES / file).read_text())):
            is_of_module = (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id in ('trt', 'builder', 'network', 'config', 'parser', 'context')
            )
            if is_of_module:
                assert isinstance(node, ast.Attribute)
                assert node.attr in listed, f'{file}: {node.attr}'
