"""Maps of a bundle: 0 is normal and 1 the threshold, at whatever size they are asked for."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from ros_ood_monitor.calibration import MapCalibration
from ros_ood_monitor.maps.heatmap import Projection
from ros_ood_monitor.maps.mapper import Mapper
from ros_ood_monitor.preprocess import Preprocessor

PREPROCESS = Preprocessor(32, 48)
GRID = np.random.default_rng(7).normal(6.0, 2.0, (4, 6)).astype(np.float32)


def test_zero_is_normal_and_one_the_threshold() -> None:
    mapper = Mapper(PREPROCESS, MapCalibration(normal=2.0, threshold=6.0, alpha=0.01))
    cells = np.array([[2.0, 6.0], [10.0, -2.0]], dtype=np.float32)
    assert mapper(cells, (2, 2)) == pytest.approx(np.array([[0.0, 1.0], [2.0, -1.0]]), abs=1e-6)
    assert mapper.peak(cells) == 2.0
    (region,) = mapper.regions(cells, (20, 40))
    assert region == (0, 10, 20, 10, 200, 2.0)  # the threshold itself is not over it
    assert mapper.regions(cells.clip(max=6.0), (20, 40)) == ()


def test_without_a_calibration_values_stay_as_they_are() -> None:
    mapper = Mapper(PREPROCESS)
    projection = Projection(
        PREPROCESS.image_from_input(60, 90),
        image_size=(60, 90), input_size=(32, 48), grid_size=(4, 6),
    )  # fmt: skip
    assert (mapper(GRID, (60, 90)) == projection(GRID)).all()
    assert mapper.peak(GRID) == GRID.max()
    assert mapper.regions(GRID, (60, 90)) == ()


def test_a_map_as_large_as_its_grid_is_the_grid() -> None:
    assert Mapper(PREPROCESS)(GRID, (4, 6)) == pytest.approx(GRID, abs=1e-6)
    assert Mapper(PREPROCESS)(GRID[:1, :1], (3, 5)) == pytest.approx(GRID[0, 0])


def test_any_number_of_sizes_costs_bounded_memory_and_changes_nothing() -> None:
    mapper = Mapper(PREPROCESS)
    first = mapper(GRID, (60, 90))
    for height in range(1, 80):
        assert mapper(GRID, (height, 30)).shape == (height, 30)
    assert len(mapper._known) <= 16
    assert (mapper(GRID, (60, 90)) == first).all()


def test_a_mapper_travels_between_processes() -> None:
    mapper = Mapper(PREPROCESS, MapCalibration(normal=2.0, threshold=6.0, alpha=0.01))
    twin = pickle.loads(pickle.dumps(mapper))
    assert (twin(GRID, (9, 8)) == mapper(GRID, (9, 8))).all()
