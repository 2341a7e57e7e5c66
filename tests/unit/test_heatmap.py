"""Heat-maps: a hot cell lands where it is, whatever the geometry, and so do its regions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.maps.heatmap import Projection, regions_over
from ros_ood_monitor.preprocess import Preprocessor


def _projection(
    image: tuple[int, int], given: tuple[int, int], grid: tuple[int, int]
) -> Projection:
    image_from_input = Preprocessor(*given).image_from_input(*image)
    return Projection(image_from_input, image_size=image, input_size=given, grid_size=grid)


def _grid(seed: int, size: tuple[int, int]) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=size).astype(np.float32)


@pytest.mark.parametrize(
    ('image', 'given', 'grid'),
    [
        ((480, 640), (224, 224), (14, 14)),
        ((97, 211), (64, 32), (8, 4)),
        ((40, 30), (64, 96), (5, 9)),
    ],
)
def test_the_centre_of_mass_of_a_hot_cell_is_where_the_cell_is(
    image: tuple[int, int], given: tuple[int, int], grid: tuple[int, int]
) -> None:
    project = _projection(image, given, grid)
    for row, column in [(1, 2), (grid[0] - 2, 1), (2, grid[1] - 2)]:
        hot = np.zeros(grid, dtype=np.float32)
        hot[row, column] = 1.0
        heat = project(hot)
        y, x = np.indices(image)
        middle = np.sum(y * heat) / heat.sum(), np.sum(x * heat) / heat.sum()
        # a cell's part of the image, whose first pixel centre is at 0
        expected = [
            (k + 0.5) * size / cells - 0.5
            for k, size, cells in zip((row, column), image, grid, strict=True)
        ]
        assert middle == pytest.approx(expected, abs=0.05)


def test_a_cells_own_score_stands_at_its_centre() -> None:
    patches = _grid(1, (3, 5))
    heat = _projection((33, 55), (96, 96), (3, 5))(patches)  # 11 px a cell: centres are pixels
    assert heat[5::11, 5::11] == pytest.approx(patches, abs=1e-6)


def test_nothing_is_higher_than_the_highest_cell_or_has_an_edge() -> None:
    patches = _grid(2, (7, 9))
    heat = _projection((350, 450), (224, 224), (7, 9))(patches)
    assert patches.min() <= heat.min() < heat.max() <= patches.max()
    steps = [np.abs(np.diff(heat, axis=axis)).max() for axis in (0, 1)]
    assert max(steps) <= 1.5 * np.ptp(patches) / 50  # 50 px a cell, 1.5: the steepest slope


def test_the_map_follows_the_preprocessor() -> None:
    # a bright square, seen through the resize and averaged by cell, projects onto itself
    rgb = np.zeros((90, 240, 3), dtype=np.uint8)
    rgb[30:60, 160:200] = 255
    given = Preprocessor(96, 96)(rgb)[0, :, :, 0].astype(np.float32)
    cells = given.reshape(24, 4, 24, 4).mean(axis=(1, 3))
    heat = _projection((90, 240), (96, 96), (24, 24))(cells)
    (region,) = regions_over(heat, 127.0)
    assert region[:4] == pytest.approx((160, 30, 40, 30), abs=1)


@pytest.mark.parametrize('size', [(1, 1), (1, 4), (4, 1)])
def test_a_grid_of_one_cell_is_the_same_everywhere_along_it(size: tuple[int, int]) -> None:
    patches = _grid(3, size)
    heat = _projection((20, 30), (64, 64), size)(patches)
    if size[0] == 1:
        assert np.ptp(heat, axis=0).max() == 0.0
    if size[1] == 1:
        assert np.ptp(heat, axis=1).max() == 0.0


def test_a_constant_grid_is_a_constant_map() -> None:
    heat = _projection((61, 47), (64, 64), (6, 7))(np.full((6, 7), 3.1, dtype=np.float32))
    assert np.unique(heat).tolist() == [np.float32(3.1)]
    assert regions_over(heat, 3.1) == []


def test_a_letterboxed_picture_takes_only_its_part_of_the_grid() -> None:
    # 200x100 in the middle of 200x200: rows 50 to 149 of the input
    image_from_input = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, -50.0], [0.0, 0.0, 1.0]])
    project = Projection(
        image_from_input, image_size=(100, 200), input_size=(200, 200), grid_size=(20, 20)
    )
    padding = np.ones((20, 20), dtype=np.float32)
    padding[5:15] = 0.0
    heat = project(padding)
    assert heat[5:95].max() == 0.0
    hot = np.zeros((20, 20), dtype=np.float32)
    hot[8, 3] = 1.0
    assert np.unravel_index(project(hot).argmax(), heat.shape) == pytest.approx((34.5, 34.5), 0.5)


def test_what_a_crop_leaves_out_is_unknown() -> None:
    # columns 50 to 149 of a picture 200 wide
    image_from_input = np.array([[1.0, 0.0, 50.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    project = Projection(
        image_from_input, image_size=(100, 200), input_size=(100, 100), grid_size=(10, 10)
    )
    heat = project(np.full((10, 10), 9.0))
    assert np.isnan(heat).all(axis=0).tolist() == [not 50 <= x < 150 for x in range(200)]
    (region,) = regions_over(heat, 3.0)
    assert region[:4] == (50, 0, 100, 100)


def test_a_geometry_that_turns_is_refused() -> None:
    turned = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    with pytest.raises(ParameterError, match='expected scales and shifts of either axis'):
        Projection(turned, image_size=(9, 9), input_size=(9, 9), grid_size=(3, 3))


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ParameterError, match=r'sizes must be at least 1x1, .*9x9, 8x8, 3x0'):
        Projection(np.eye(3), image_size=(9, 9), input_size=(8, 8), grid_size=(0, 3))
    with pytest.raises(ParameterError, match=r'grid size mismatch: expected \(3, 4\), got'):
        _projection((9, 9), (9, 9), (3, 4))(np.zeros((4, 3)))


def test_regions_are_boxes_in_pixels_with_the_highest_peak_first() -> None:
    heat = np.zeros((30, 40), dtype=np.float32)
    heat[3:7, 10:12] = 4.0
    heat[20, 30] = heat[21, 31] = 6.0  # touch by a corner
    heat[20, 5] = 3.0  # not over
    high, low = regions_over(heat, 3.0)
    assert high == (30, 20, 2, 2, 2, 6.0)
    assert low == (10, 3, 2, 4, 8, 4.0)
    assert regions_over(heat, 3.0, at_most=1) == [high]


def test_regions_of_cells_are_boxes_of_what_the_cells_stand_for() -> None:
    patches = np.zeros((4, 6), dtype=np.float32)
    patches[1, 2:4] = [5.0, 9.0]
    patches[2, 4] = 4.0  # touches by a corner
    patches[0, 0] = 7.0
    patches[3, 5] = 3.0  # not over
    project = _projection((400, 150), (64, 64), (4, 6))  # upright: a cell is 25 wide, 100 high
    found = project.regions_over(patches, 3.0)
    assert found == [(50, 100, 75, 200, 7500, 9.0), (0, 0, 25, 100, 2500, 7.0)]
    assert project.regions_over(patches, 3.0, at_most=1) == found[:1]
    assert project.regions_over(patches, 9.0) == []
    heat = project(patches)
    for left, top, width, height, _, peak in found:
        box = heat[top : top + height, left : left + width]
        assert box.max() == pytest.approx(peak, rel=0.01)
        box[:] = 0.0
    # the map runs down to its neighbours beyond a box, by less than half a cell
    assert 3.0 < heat.max() < 6.0


def test_boxes_of_cells_end_where_the_image_does() -> None:
    letterbox = np.array([[2.0, 0.0, 0.0], [0.0, 2.0, -32.0], [0.0, 0.0, 1.0]])
    project = Projection(letterbox, image_size=(64, 127), input_size=(64, 64), grid_size=(4, 4))
    hot = np.ones((4, 4), dtype=np.float32)
    assert project.regions_over(hot, 0.5) == [(0, 0, 127, 64, 8128, 1.0)]
    hot[1:] = 0.0  # the first row of cells is padding: it stands for nothing of the image
    assert project.regions_over(hot, 0.5) == []


def test_regions_are_as_many_as_asked_for_however_many_there_are() -> None:
    patches = np.indices((40, 40)).sum(axis=0).astype(np.float32)
    patches[1::2] = patches[:, 1::2] = 0.0
    found = regions_over(patches, 0.5, at_most=3)
    assert [region.peak for region in found] == [76.0, 74.0, 74.0]
