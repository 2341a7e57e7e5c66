"""
Records which names the Python bindings of a TensorRT version have.

Usage, with gcc and the Python version that the wheel is for::

    pip download --no-deps tensorrt_cu13_bindings==11.4.0.106 && unzip tensorrt_cu13_bindings-*.whl
    python -m tests.golden.make_tensorrt_names tensorrt_bindings/tensorrt.so 11.4.0.106

The bindings load against stand-ins for their libraries: nothing is called, only listed. Of what
they have, the classes that the product uses are written down.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
from pathlib import Path
import subprocess
import sys
import tempfile

from ros_ood_monitor.engines.trt_names import USED, USED_OF_TENSORRT

FOLDER = Path(__file__).parent / 'tensorrt_names'
_FUNCTIONS = (
    'createInferBuilder_INTERNAL',
    'createInferRefitter_INTERNAL',
    'createInferRuntime_INTERNAL',
    'createNvOnnxParserRefitter_INTERNAL',
    'createNvOnnxParser_INTERNAL',
    'getNvOnnxParserVersion',
    'initLibNvInferPlugins',
    'getInferLibVersion',
    'getPluginRegistry',
    'getBuilderPluginRegistry',
    'getLogger',
)


def main() -> None:
    """Make the stand-ins, start again with them on the loader's path, and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('bindings', type=Path)
    parser.add_argument('version')
    args = parser.parse_args()
    if 'TENSORRT_STAND_INS' not in os.environ:
        with tempfile.TemporaryDirectory() as folder:
            _make_stand_ins(Path(folder), args.version.split('.')[0])
            environment = {**os.environ, 'LD_LIBRARY_PATH': folder, 'TENSORRT_STAND_INS': folder}
            command = [sys.executable, '-m', 'tests.golden.make_tensorrt_names', *sys.argv[1:]]
            subprocess.run(command, env=environment, check=True)
        return
    spec = importlib.util.spec_from_file_location('tensorrt', args.bindings)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    classes = sorted({name.split('.')[0] for name in (*USED, *USED_OF_TENSORRT)})
    names = [
        f'{kind}.{name}'
        for kind in classes
        for name in dir(getattr(module, kind, object))
        if not name.startswith('_')
    ]
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f'{args.version}.txt').write_text('\n'.join(names) + '\n', encoding='utf-8')


def _make_stand_ins(folder: Path, major: str) -> None:
    source = folder / 'stand_in.c'
    source.write_text(' '.join(f'void* {name}() {{return 0;}}' for name in _FUNCTIONS))
    for name in ('nvinfer', 'nvonnxparser', 'nvinfer_plugin'):
        target = folder / f'lib{name}.so.{major}'
        subprocess.run(['gcc', '-shared', '-fPIC', '-o', target, source], check=True)


if __name__ == '__main__':
    main()
