"""Pseudo-OOD pictures: made from in-distribution frames alone, and always the same ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.training.frames.pseudo_ood import KINDS, pseudo_ood
from tests.training_tools import scene


@pytest.fixture(scope='module')
def images() -> npt.NDArray[np.uint8]:
    """Return five frames whose sides are no multiple of four."""
    return np.stack([scene(40 * k, (50, 66)) for k in range(5)])


def test_every_kind_keeps_shape_and_dtype_and_changes_every_picture(
    images: npt.NDArray[np.uint8],
) -> None:
    before = images.copy()
    made = pseudo_ood(images, seed=0)
    assert tuple(made) == KINDS
    for kind, pictures in made.items():
        assert pictures.shape == images.shape, kind
        assert pictures.dtype == np.uint8, kind
        assert all(np.any(new != old) for new, old in zip(pictures, images, strict=True)), kind
    np.testing.assert_array_equal(images, before)


def test_equal_seeds_give_equal_bytes_and_others_do_not(images: npt.NDArray[np.uint8]) -> None:
    first, again, other = (pseudo_ood(images, seed=seed) for seed in (3, 3, 4))
    for kind in KINDS:
        np.testing.assert_array_equal(first[kind], again[kind])
        if kind not in ('negative', 'blur'):
            assert np.any(first[kind] != other[kind]), kind


def test_kind_does_not_depend_on_which_others_are_made(images: npt.NDArray[np.uint8]) -> None:
    alone = pseudo_ood(images, seed=0, kinds=['texture'])
    assert list(alone) == ['texture']
    np.testing.assert_array_equal(alone['texture'], pseudo_ood(images, seed=0)['texture'])


def test_patch_comes_from_another_frame_and_leaves_most_of_the_picture() -> None:
    flat = np.stack([np.full((64, 64, 3), level, np.uint8) for level in (10, 90, 200)])
    made = pseudo_ood(flat, seed=1, kinds=['patch'])['patch']
    for old, new in zip(flat, made, strict=True):
        assert 0.0 < np.mean(np.any(new != old, axis=-1)) < 0.15
        assert set(np.unique(new)) - set(np.unique(old)) <= {10, 90, 200}


def test_jigsaw_keeps_every_pixel_and_moves_every_tile() -> None:
    image = np.repeat(np.arange(16, dtype=np.uint8).reshape(4, 4), 8, axis=0)
    image = np.repeat(image, 8, axis=1)[np.newaxis, ..., np.newaxis].repeat(3, axis=3)
    made = pseudo_ood(image, seed=0, kinds=['jigsaw'])['jigsaw']
    assert not np.any(made == image)
    np.testing.assert_array_equal(np.sort(made, axis=None), np.sort(image, axis=None))


def test_phase_keeps_colour_and_loses_place(images: npt.NDArray[np.uint8]) -> None:
    made = pseudo_ood(images, seed=0, kinds=['phase'])['phase']
    np.testing.assert_allclose(made.mean((1, 2)), images.mean((1, 2)), atol=3.0)
    old, new = (pictures[0].mean(-1).ravel().astype(np.float64) for pictures in (images, made))
    assert abs(np.corrcoef(old, new)[0, 1]) < 0.6


def test_blur_is_smoother_than_the_frame(images: npt.NDArray[np.uint8]) -> None:
    made = pseudo_ood(images, seed=0, kinds=['blur'])['blur']
    rough = [np.abs(np.diff(p.astype(float), axis=2)).mean() for p in (images, made)]
    assert rough[1] < 0.5 * rough[0]


@pytest.mark.parametrize('image', [scene(0, (64, 64)), np.full((64, 64, 3), 7, np.uint8)])
def test_one_frame_and_a_constant_one_are_enough(image: npt.NDArray[np.uint8]) -> None:
    made = pseudo_ood(image[np.newaxis], seed=0)
    assert {pictures.shape for pictures in made.values()} == {(1, 64, 64, 3)}


@pytest.mark.parametrize(
    ('images', 'kinds', 'words'),
    [
        (np.zeros((64, 64, 3), np.uint8), None, r'got \(64, 64, 3\) and uint8'),
        (np.zeros((2, 64, 64, 3), np.float32), None, 'float32'),
        (np.zeros((0, 64, 64, 3), np.uint8), None, 'k at least 1'),
        (np.zeros((1, 64, 20, 3), np.uint8), None, 'at least 32 px a side, got 20x64'),
        (np.zeros((1, 64, 64, 3), np.uint8), ['jitter'], "expected some of .*, got 'jitter'"),
    ],
)
def test_what_cannot_be_used_is_refused(
    images: npt.NDArray[np.uint8], kinds: list[str] | None, words: str
) -> None:
    with pytest.raises(TrainingError, match=words):
        pseudo_ood(images, seed=0, kinds=kinds)
