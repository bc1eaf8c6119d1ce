"""Shape of a phantom heart: star-shaped contours around the axis of the left ventricle, in millimetres.

A heart is drawn once per patient (:func:`draw_heart`); its contours at a slice and a frame follow from it without
further randomness (:func:`contours`). All shapes are functions of the angle around the left ventricle, so that dense
labels and scribbles can be made from the same curves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BACKGROUND, RV, MYO, LV = 0, 1, 2, 3
UNLABELLED = 4
CLASS_NAMES = ("background", "RV", "MYO", "LV")
FRAMES = ("ED", "ES")

Floats = NDArray[np.float64]
Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class Heart:
    """Everything random about one heart. Lengths in mm, angles in radians.

    Attributes:
        centre: Axis of the left ventricle at the base, (x, y) relative to the middle of the slice.
        drift: How far that axis wanders from base to apex, (x, y).
        lv_radius: Inner radius of the left ventricle at the base, end diastole.
        wall: Thickness of the myocardium at the base, end diastole.
        rv_angle: Direction in which the right ventricle lies.
        rv_reach: How far the right ventricle extends beyond the myocardium at the base, end diastole.
        rv_half_span: Half the angle that the right ventricle covers at the base.
        rv_end: Position along the axis (0 base, 1 apex) at which the right ventricle has vanished.
        squeeze: Inner radius at end systole relative to end diastole.
        rv_squeeze: Reach of the right ventricle at end systole relative to end diastole.
        wobble: Amplitude and phase of the angular modes 2, 3, 4 of the inner contour, shape (3, 2).
        wall_wobble: The same for the thickness of the wall.
        twist: Rotation from base to apex.
    """

    centre: tuple[float, float]
    drift: tuple[float, float]
    lv_radius: float
    wall: float
    rv_angle: float
    rv_reach: float
    rv_half_span: float
    rv_end: float
    squeeze: float
    rv_squeeze: float
    wobble: Floats
    wall_wobble: Floats
    twist: float


def draw_heart(rng: np.random.Generator) -> Heart:
    """Draws the shape of one heart."""

    def modes(scale: float) -> Floats:
        amplitudes = rng.normal(0.0, scale, 3) / np.array([1.0, 1.5, 2.0])
        return np.stack([amplitudes, rng.uniform(0.0, 2 * np.pi, 3)], axis=1)

    return Heart(
        centre=(rng.uniform(-8.0, 32.0), rng.uniform(-24.0, 12.0)),
        drift=(rng.uniform(-4.0, 14.0), rng.uniform(-4.0, 10.0)),
        lv_radius=rng.uniform(19.0, 28.0),
        wall=rng.uniform(8.0, 13.0),
        rv_angle=np.pi + rng.uniform(-0.5, 0.5),
        rv_reach=rng.uniform(20.0, 32.0),
        rv_half_span=rng.uniform(1.05, 1.4),
        rv_end=rng.uniform(0.8, 1.0),
        squeeze=rng.uniform(0.6, 0.85),
        rv_squeeze=rng.uniform(0.65, 0.85),
        wobble=modes(0.06),
        wall_wobble=modes(0.09),
        twist=rng.uniform(-0.4, 0.4),
    )


@dataclass(frozen=True)
class Contours:
    """The contours of one slice of one frame as radii around :attr:`centre`.

    Attributes:
        centre: (x, y) in mm relative to the middle of the slice.
        angles: Equidistant angles in [-pi, pi), shape (A,).
        endo: Radius of the inner contour of the myocardium, shape (A,).
        epi: Radius of its outer contour, shape (A,).
        outer: Radius of the whole heart: ``epi`` where there is no right ventricle, shape (A,).
        rv_angle: Direction in which the right ventricle lies.
        rv_half_span: Half the angle that it covers, 0 where it has vanished.
    """

    centre: tuple[float, float]
    angles: Floats
    endo: Floats
    epi: Floats
    outer: Floats
    rv_angle: float
    rv_half_span: float

    def radius(self, curve: Floats, angle: Floats) -> Floats:
        """Evaluates one of the curves at any angles (periodic, linear between the samples)."""
        return np.interp(angle, self.angles, curve, period=2 * np.pi)


def wrap(angle: Floats) -> Floats:
    """Brings angles into [-pi, pi)."""
    return (angle + np.pi) % (2 * np.pi) - np.pi


def contours(heart: Heart, position: float, frame: str, n_angles: int = 360) -> Contours:
    """Contours of a heart in one slice.

    Args:
        heart: The heart.
        position: Place of the slice along the long axis, 0 at the base and 1 at the apex.
        frame: ``"ED"`` or ``"ES"``.
        n_angles: Number of samples around the axis.

    Raises:
        ValueError: For a position outside 0..1 or an unknown frame.
    """
    if not 0.0 <= position <= 1.0:
        raise ValueError(f"position along the axis must lie in 0..1, got {position}")
    if frame not in FRAMES:
        raise ValueError(f"expected a frame out of {FRAMES}, got {frame!r}")
    systole = frame == "ES"
    taper = np.sqrt(1.0 - (0.9 * position) ** 2)
    angles = np.linspace(-np.pi, np.pi, n_angles, endpoint=False)
    turned = angles - heart.twist * position

    def wave(modes: Floats) -> Floats:
        orders = np.arange(2, 2 + len(modes))
        return (modes[:, :1] * np.cos(orders[:, None] * turned + modes[:, 1:])).sum(axis=0)

    inner_ed = heart.lv_radius * taper
    outer_ed = inner_ed + heart.wall * (1.0 - 0.25 * position)
    inner = inner_ed * (heart.squeeze if systole else 1.0)
    # The muscle keeps most of its area when it contracts: it thickens.
    outer = np.sqrt(inner**2 + (outer_ed**2 - inner_ed**2) * (0.95 if systole else 1.0))
    endo = inner * (1.0 + wave(heart.wobble))
    epi = endo + (outer - inner) * np.clip(1.0 + wave(heart.wall_wobble), 0.6, 1.5)

    left = max(0.0, 1.0 - (position / heart.rv_end) ** 2)
    reach = heart.rv_reach * np.sqrt(left) * (heart.rv_squeeze if systole else 1.0)
    half_span = heart.rv_half_span * left**0.35
    if reach < 4.0:
        reach = half_span = 0.0
    rv_angle = float(wrap(np.asarray(heart.rv_angle + heart.twist * position)))
    away = wrap(angles - rv_angle)
    inside = np.abs(away) < half_span
    arch = np.zeros_like(angles)
    arch[inside] = np.cos(0.5 * np.pi * away[inside] / half_span) ** 0.6
    return Contours(
        centre=(heart.centre[0] + heart.drift[0] * position, heart.centre[1] + heart.drift[1] * position),
        angles=angles,
        endo=endo,
        epi=epi,
        outer=epi + reach * arch,
        rv_angle=rv_angle,
        rv_half_span=half_span,
    )


def polar(x: Floats, y: Floats, centre: tuple[float, float]) -> tuple[Floats, Floats]:
    """Radius and angle of points around a centre."""
    dx, dy = x - centre[0], y - centre[1]
    return np.hypot(dx, dy), np.arctan2(dy, dx)


def dense_label(lines: Contours, x: Floats, y: Floats) -> Labels:
    """Dense label of one slice.

    Args:
        lines: Contours of the slice.
        x: x coordinate of every pixel centre in mm, shape (H, W).
        y: y coordinate, shape (H, W).

    Returns:
        0 background, 1 RV, 2 MYO, 3 LV, shape (H, W), uint8.
    """
    radius, angle = polar(x, y, lines.centre)
    label = np.zeros(x.shape, np.uint8)
    label[radius < lines.radius(lines.outer, angle)] = RV
    label[radius < lines.radius(lines.epi, angle)] = MYO
    label[radius < lines.radius(lines.endo, angle)] = LV
    return label
