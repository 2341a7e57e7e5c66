"""Every name that is used of TensorRT exists: in what is installed, and in recorded versions."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import reduce
from pathlib import Path
import re

import pytest

import ros_ood_monitor
from ros_ood_monitor.engines.trt_names import USED, USED_OF_RTX, USED_OF_TENSORRT

RECORDED = sorted((Path(__file__).resolve().parents[1] / 'golden/tensorrt_names').glob('*.txt'))
FILES = sorted((Path(ros_ood_monitor.__file__).parent / 'engines').glob('*.py'))
USED_OF_ANY = (*USED, *USED_OF_RTX, *USED_OF_TENSORRT)

KINDS = {
    'trt': (),
    'library': (),
    'found': (),
    'builder': ('Builder',),
    'network': ('INetworkDefinition',),
    'config': ('IBuilderConfig', 'IRuntimeConfig'),
    'parser': ('OnnxParser',),
    'e': ('ParserError',),
    'tensor': ('ITensor',),
    'profile': ('IOptimizationProfile',),
    'loader': ('Runtime',),
    'engine': ('ICudaEngine',),
    'engines[part]': ('ICudaEngine',),
    'context': ('IExecutionContext',),
    'cache': ('ITimingCache', 'IRuntimeCache'),
}
"""How the files call what TensorRT gives them; nothing for the module itself."""

NOT_OF_IT = {
    'build.py': {'engine'},
    'built.py': {'engine'},
    'cache.py': {'cache', 'engine'},
    'target.py': {'engine'},
}
"""Names that mean something else there."""

OVERRIDDEN = {
    f'IProgressMonitor.{name}' for name in ('phase_start', 'phase_finish', 'step_complete')
}
"""Names that the library calls."""


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


def names(file: Path) -> Iterator[list[str]]:
    """Yield every dotted name of a file, without ``self`` and leading underscores."""
    for node in ast.walk(ast.parse(file.read_text(encoding='utf-8'))):
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.insert(0, node.attr)
            node = node.value
        root = ast.unparse(node) if isinstance(node, ast.Name | ast.Call | ast.Subscript) else ''
        parts.insert(0, root.removeprefix('self.').lstrip('_'))
        if parts[0] == 'self' and len(parts) > 1:
            parts = [parts[1].lstrip('_'), *parts[2:]]
        if len(parts) > 1:
            yield parts


def asked_of(file: Path) -> Iterator[str]:
    """Yield what a file asks of TensorRT, as the lists have it."""
    for root, *rest in names(file):
        kinds = KINDS.get(root)
        if kinds is None or root in NOT_OF_IT.get(file.name, ()):
            continue
        if root in ('library', 'found'):  # the product's own, which holds the module
            if rest[0] != 'module' or not rest[1:]:
                continue
            del rest[0]
        listed = [kind for kind in kinds if f'{kind}.{rest[0]}' in USED_OF_ANY] or kinds[:1]
        for parts in [[kind, *rest] for kind in listed] or [rest]:
            yield '.'.join(part for part in parts[:2] if not part.startswith('__'))


@pytest.mark.parametrize('file', FILES, ids=lambda file: file.name)
def test_no_name_is_used_that_is_not_listed(file: Path) -> None:
    listed = {*USED_OF_ANY, *(name.split('.')[0] for name in USED_OF_ANY)}
    missing = [name for name in asked_of(file) if name not in listed]
    assert missing == []


def test_every_listed_name_is_used() -> None:
    used = {name for file in FILES for name in asked_of(file)}
    assert set(USED_OF_ANY) - used <= OVERRIDDEN


@pytest.mark.parametrize('file', FILES, ids=lambda file: file.name)
def test_cuda_has_every_name_that_is_used_of_it(file: Path) -> None:
    cuda = pytest.importorskip('cuda.bindings.runtime', reason='cuda-bindings is not installed')
    of = {'runtime': cuda, 'cudart()': cuda}
    if file.name == 'cuda.py':
        of |= {'kinds': cuda.cudaMemcpyKind, 'facts': cuda.cudaDeviceProp}
    for root, *rest in names(file):
        if root in of:
            reduce(getattr, rest[: 1 if root == 'facts' else None], of[root])
    for node in ast.walk(ast.parse(file.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Constant) and re.fullmatch(r'cudaError\w+', str(node.value)):
            assert node.value in cuda.cudaError_t.__members__
