"""
Procedural lunar ground: heights and albedo on a grid laid over the sphere.

Grid coordinates are great-circle distances from the start of the orbit: ``x`` ahead in the
camera's direction, ``y`` to its left, both in km. Row 0 is the smallest ``y``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ['MOON_RADIUS_KM', 'Terrain', 'make_terrain']

MOON_RADIUS_KM = 1737.4

_CRATERS_PER_KM2 = 0.022  # of at least 1 km: between mare and highland counts
_SIZE_EXPONENT = 1.85  # cumulative size-frequency slope
_DIAMETER_KM = (1.0, 75.0)

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Terrain:
    """
    A patch of ground.

    Parameters
    ----------
    x_km : ndarray of shape (columns,), float32
        Distance ahead of each column.
    y_km : ndarray of shape (rows,), float32
        Distance to the left of each row.
    height_km : ndarray of shape (rows, columns), float32
        Height over the sphere.
    albedo : ndarray of shape (rows, columns), float32
        Normal albedo, about 0.06 (mare) to 0.3 (fresh ejecta).

    """

    x_km: Floats
    y_km: Floats
    height_km: Floats
    albedo: Floats

    @property
    def spacing_km(self) -> float:
        """Distance of neighbouring samples, in km."""
        return float(self.x_km[1] - self.x_km[0])


def make_terrain(
    rng: np.random.Generator,
    *,
    x_range_km: tuple[float, float],
    y_range_km: tuple[float, float],
    spacing_km: float = 0.4,
) -> Terrain:
    """
    Make a patch of cratered ground.

    Old craters come first, so that younger ones cut into them; few are fresh enough for bright
    ejecta. Lowlands below a random level are flooded: dark, smooth and with few craters.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of all randomness.
    x_range_km, y_range_km : tuple of float
        First and last coordinate of the patch.
    spacing_km : float
        Distance of samples.

    Returns
    -------
    Terrain
        Heights and albedo.

    References
    ----------
    Pike, 1977: depth and rim height over diameter of simple and complex lunar craters.

    """
    x = np.arange(*x_range_km, spacing_km, dtype=np.float32)
    y = np.arange(*y_range_km, spacing_km, dtype=np.float32)
    shape = (y.size, x.size)
    basin = _fractal(rng, shape, exponent=3.6, cutoff=90.0 / spacing_km)
    rough = _fractal(rng, shape, exponent=2.9)
    mottle = _fractal(rng, shape, exponent=2.4)
    flood_level = rng.uniform(-2.2, -0.4)  # in deviations: from hardly any mare to a third
    mare = 1.0 / (1.0 + np.exp(np.minimum((basin - flood_level) / 0.06, 60.0)))
    height = (0.9 * np.maximum(basin, flood_level) + 0.3 * rough * (1 - 0.85 * mare)).astype(
        np.float32
    )
    albedo = (0.15 - 0.075 * mare + 0.010 * mottle).astype(np.float32)
    _add_craters(rng, height, albedo, mare, spacing_km)
    return Terrain(x, y, height, np.clip(albedo, 0.04, 0.34))


def _fractal(
    rng: np.random.Generator, shape: tuple[int, int], *, exponent: float, cutoff: float = 1e9
) -> Floats:
    """Noise of unit deviation whose power falls with frequency; short waves fade."""
    rows, columns = shape
    frequency = np.hypot(np.fft.fftfreq(rows)[:, None], np.fft.rfftfreq(columns)[None, :])
    frequency[0, 0] = 1.0
    amplitude = np.maximum(frequency, 1.0 / 700.0) ** (-exponent / 2)
    amplitude *= np.exp(-((frequency * cutoff / 3.0) ** 2)) if cutoff < 1e6 else 1.0
    amplitude[0, 0] = 0.0
    spectrum = np.fft.rfft2(rng.standard_normal(shape, dtype=np.float32)) * amplitude
    noise = np.fft.irfft2(spectrum, s=shape)
    return np.asarray(noise / noise.std(), np.float32)


def _add_craters(
    rng: np.random.Generator, height: Floats, albedo: Floats, mare: Floats, spacing_km: float
) -> None:
    rows, columns = height.shape
    smallest, largest = _DIAMETER_KM
    count = rng.poisson(_CRATERS_PER_KM2 * rows * columns * spacing_km**2)
    share = rng.random(count)
    ratio = (smallest / largest) ** _SIZE_EXPONENT
    diameters = smallest * (1 - share * (1 - ratio)) ** (-1 / _SIZE_EXPONENT)
    centres = rng.random((count, 2)) * (rows, columns)
    ages = rng.random(count)
    # big craters are old: few basins formed after the heavy bombardment
    ages = np.maximum(ages, np.minimum(1.0, diameters / 60.0) * rng.uniform(0.5, 1.0, count))
    survivor = rng.random(count)
    spins = rng.random(count) * 2 * np.pi
    for i in np.argsort(-ages, kind='stable'):
        row, column = centres[i]
        if survivor[i] < 0.8 * mare[int(row), int(column)]:
            continue
        _stamp(height, albedo, (row, column), diameters[i], ages[i], spins[i], spacing_km)


def _stamp(
    height: Floats,
    albedo: Floats,
    centre_px: tuple[float, float],
    diameter_km: float,
    age: float,
    spin: float,
    spacing_km: float,
) -> None:
    """Press one crater into the ground: cut to its surroundings' level, bowl, rim, ejecta."""
    fresh = age < 0.035
    radius_px = 0.5 * diameter_km / spacing_km
    reach = radius_px * (6.0 if fresh else 2.0) + 1
    row, column = centre_px
    top, bottom = max(0, int(row - reach)), min(height.shape[0], int(row + reach) + 1)
    left, right = max(0, int(column - reach)), min(height.shape[1], int(column + reach) + 1)
    dy = (np.arange(top, bottom, dtype=np.float32)[:, None] - row) / radius_px
    dx = (np.arange(left, right, dtype=np.float32)[None, :] - column) / radius_px
    r2 = dx * dx + dy * dy  # (patch rows, patch columns), in squared radii
    complex_form = diameter_km > 15.0
    depth = 1.044 * diameter_km**0.301 if complex_form else 0.196 * diameter_km
    rim = 0.236 * diameter_km**0.399 if complex_form else 0.036 * diameter_km
    worn = 1.0 - 0.8 * age**0.7
    exponent = 3.0 if complex_form else 1.0  # flat floor against bowl
    bowl = np.minimum(r2**exponent, 1.0) * (depth + rim) - depth
    if diameter_km > 25.0:
        bowl += 0.45 * depth * np.exp(-r2 / 0.02)
    outside = rim * np.maximum(r2, 1.0) ** -1.5  # ejecta blanket falls with the cube of distance
    outside *= np.clip((4.0 - r2) / 2.0, 0.0, 1.0)
    profile = worn * np.where(r2 < 1.0, bowl, outside)
    window = height[top:bottom, left:right]
    inside = r2 < 1.0
    if inside.any():
        level = window[inside].mean()
        cut = np.clip((1.15 - r2) * 4.0, 0.0, 1.0) * (0.85 * worn)
        window += cut * (level - window)
    window += profile
    if fresh:
        angle = np.arctan2(dy, dx) + spin
        rays = 0.5 + 0.5 * np.sin(5 * angle + 2 * np.sin(3 * angle)) ** 3
        distance = np.sqrt(r2)
        glow = np.exp(-np.maximum(distance - 1, 0) / 0.9) * (0.5 + 0.5 * rays)
        albedo[top:bottom, left:right] += 0.13 * (1 - age / 0.035) ** 0.5 * glow
