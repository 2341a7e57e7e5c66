"""Flows that were fitted are not fitted again, and come back as they were."""

# flake8: noqa: E402  (nothing of this can be imported where torch is missing)

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip('torch')

from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.training.fitting.fit_store import FitStore
from ros_ood_monitor.training.flows.assembly import flow_from_settings
from ros_ood_monitor.training.flows.folding import fold
from ros_ood_monitor.training.flows.training import train_flow
from ros_ood_monitor.training.settings.presets import FlowSettings

WIDTH = 6
FACTS: dict[str, Any] = {'data': 'abc', 'seed': 0}


def fit(settings: FlowSettings) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(80, WIDTH)).astype(np.float32)
    return train_flow(rows[:60], rows[60:], settings=settings, seed=0, probes=rows[:10] + 3)


def refuse() -> Any:
    raise AssertionError


@pytest.mark.parametrize('preset', ['default', 'realnvp', 'fde_paper'])
def test_a_kept_flow_comes_back_equal(tmp_path: Path, preset: str) -> None:
    settings = FlowSettings.preset(preset, steps=30, hidden=8, check_every=10, evidence_steps=20)
    empty = partial(flow_from_settings, settings, WIDTH, seed=0)
    store = FitStore(tmp_path / 'fits', **FACTS)
    flow, record = store.get_or_fit(empty, lambda: fit(settings))
    again, kept = store.get_or_fit(empty, refuse)
    features = torch.randn(20, WIDTH, dtype=torch.float64)
    assert torch.equal(fold(flow).nll(features), fold(again).nll(features))
    assert kept.looks == record.looks
    assert (kept.step, kept.steps, kept.standard_error) == (
        record.step,
        record.steps,
        record.standard_error,
    )
    if record.gaussian is not None:
        assert np.array_equal(kept.gaussian.covariance, record.gaussian.covariance)


def test_other_facts_and_damaged_files_are_fitted_anew(tmp_path: Path) -> None:
    settings = FlowSettings(steps=5)
    empty = partial(flow_from_settings, settings, WIDTH, seed=0)
    store = FitStore(tmp_path, **FACTS)
    calls = []

    def counted() -> Any:
        calls.append(1)
        return fit(settings)

    store.get_or_fit(empty, counted)
    store.about(seed=1).get_or_fit(empty, counted)
    assert len(calls) == 2
    for file in tmp_path.glob('*.pt'):
        file.write_bytes(file.read_bytes()[:100])
    store.get_or_fit(empty, counted)
    assert len(calls) == 3
    store.get_or_fit(empty, refuse)


def test_a_store_that_cannot_be_written_is_told_with_a_way_out(tmp_path: Path) -> None:
    settings = FlowSettings(steps=1)
    empty = partial(flow_from_settings, settings, WIDTH, seed=0)
    (tmp_path / 'file').write_text('')
    with pytest.raises(TrainingError, match=r'could not be stored .*--cache: .*file'):
        FitStore(tmp_path / 'file', **FACTS).get_or_fit(empty, lambda: fit(settings))
