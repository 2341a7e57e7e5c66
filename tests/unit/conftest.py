from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope='session')
def kept_exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp('exports') / 'cache'


@pytest.fixture(scope='module')
def exported_once(kept_exports: Path) -> Iterator[Path]:
    """
    Share one cache of exported networks among trainings: most of the time that small ones take.

    It gives the folder: a test that has to see an export removes it.
    """
    from ros_ood_monitor.training.features import backbone_store, frame_reader, open_reader

    def kept(*what: Any, cache: Path | None) -> bytes:
        del cache
        return backbone_store.get_or_export(*what, cache=kept_exports)

    with pytest.MonkeyPatch.context() as patch:
        for module in (frame_reader, open_reader):
            patch.setattr(module, 'get_or_export', kept)
        yield kept_exports
