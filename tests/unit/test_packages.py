"""How a message says that a package is missing: by what to install, and never the clone."""

from __future__ import annotations

import importlib
from pathlib import Path
import re
import sys

import pytest

from ros_ood_monitor.packages import how_to_install, import_problem

CODE = Path(__file__).resolve().parents[2] / 'ros_ood_monitor'


def test_what_is_missing_is_named_by_its_distribution_and_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ('cv2', 'yaml'):
        monkeypatch.setitem(sys.modules, name, None)
    assert how_to_install('json', 'yaml', 'cv2', 'cv2.dnn') == 'pip install PyYAML opencv-python'
    assert how_to_install('not_here.part') == 'pip install not-here'
    # something else of it fails: it is named all the same
    assert how_to_install('json', 'email.mime') == 'pip install json email'


def test_a_package_is_missing_where_only_the_folder_around_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / 'space_of_names').mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert how_to_install('json', 'space_of_names.part') == 'pip install space-of-names'
    assert how_to_install('not_here', 'space_of_names.part') == (
        'pip install not-here space-of-names'
    )


def test_a_package_that_is_there_but_does_not_load_is_not_to_be_installed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, code in (
        ('stale_names', 'from json import not_in_it'),
        ('no_library', 'raise ImportError("libGL.so.1: cannot open\\nshared object file")'),
        ('needs_more', 'import surely_absent'),
    ):
        (tmp_path / f'{name}.py').write_text(code)
    said = {}
    for name in ('stale_names', 'no_library', 'needs_more', 'surely_absent.part'):
        with pytest.raises(ImportError) as raised:
            importlib.import_module(name)
        said[name] = import_problem(raised.value, 'not_here', 'json')
    assert re.fullmatch(
        r"a package that cannot be imported \(cannot import name 'not_in_it' from 'json' .*\); "
        'run: ood_monitor doctor',
        said['stale_names'],
    )
    assert said['no_library'] == (
        'a package that cannot be imported (libGL.so.1: cannot open shared object file); '
        'run: ood_monitor doctor'
    )
    assert said['needs_more'] == said['surely_absent.part']
    assert said['needs_more'] == (
        "the package 'surely_absent', which is not installed; "
        'run: pip install surely-absent not-here'
    )


def test_no_message_tells_to_install_the_clone() -> None:
    told = re.compile(r"pip install[^\n]*(?:'\.|\[| \.( |'|$)|in the clone)")
    assert told.search("pip install '.[bags]' in the clone")
    assert [
        str(path) for path in sorted(CODE.rglob('*.py')) if told.search(path.read_text())
    ] == []
