"""Grey values of a phantom slice: tissues painted over one another, then texture, blur, bias field and noise.

Far from the heart lie things that resemble it: bright vessels, a stomach that is a bright disc in a grey wall, a
spleen in the form of a crescent. No scribble ever touches most of them, so a network that is trained on scribbles
alone is free to find hearts there, as it does on real data.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from nnunetv2_pclmix.phantom.anatomy import LV, MYO, RV, Contours, Floats, Labels, polar, wrap


@dataclass(frozen=True)
class Blob:
    """An ellipse elsewhere in the body. Lengths in mm relative to the middle of the slice.

    Attributes:
        centre: (x, y) at the base of the heart.
        drift: Movement from base to apex, (x, y).
        axes: Half axes.
        angle: Rotation in radians.
        value: Brightness.
        rim: Thickness of its wall, 0 for none.
        rim_value: Brightness of the wall.
        bite: A second ellipse, moved by this share of the half axes, is cut out; 0 for none.
    """

    centre: tuple[float, float]
    drift: tuple[float, float]
    axes: tuple[float, float]
    angle: float
    value: float
    rim: float = 0.0
    rim_value: float = 0.0
    bite: float = 0.0


@dataclass(frozen=True)
class Look:
    """Everything random about the grey values of one patient, apart from noise and texture.

    Attributes:
        blood: Brightness of the blood in (RV, LV).
        muscle: Brightness of the myocardium.
        fat: Brightness of fat under the skin and around the heart.
        lung: Brightness of the lungs.
        body: Half axes of the trunk in mm.
        fat_layer: Thickness of the fat under the skin in mm.
        blobs: Organs and vessels, painted in this order.
        papillary: Angles of the papillary muscles in radians.
        bias: Coefficients of the bias field over (x, y, x^2, x y, y^2).
        noise: Standard deviation of the noise.
        blur: Standard deviation of the point spread in mm.
        scale: Grey value of brightness 1.
    """

    blood: tuple[float, float]
    muscle: float
    fat: float
    lung: float
    body: tuple[float, float]
    fat_layer: float
    blobs: tuple[Blob, ...]
    papillary: tuple[float, float]
    bias: Floats
    noise: float
    blur: float
    scale: float


def _draw_blobs(rng: np.random.Generator, blood: float, muscle: float) -> tuple[Blob, ...]:
    """Draws organs and vessels in the order in which they are painted."""

    def between(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    def drift() -> tuple[float, float]:
        return between(-10, 10), between(-8, 8)

    blobs = [
        # liver below and to the left, then its vessels
        Blob(
            (between(-70, -30), between(48, 75)), drift(), (between(55, 75), between(32, 45)), between(-0.3, 0.3), 0.42
        ),
    ]
    for _ in range(int(rng.integers(3, 7))):
        size = between(3, 7)
        blobs.append(
            Blob(
                (between(-90, -20), between(40, 75)),
                drift(),
                (size, between(3, 7)),
                between(0, 3),
                blood * between(0.8, 1.0),
            )
        )
    # spleen: a crescent
    blobs.append(
        Blob(
            (between(70, 90), between(35, 60)),
            drift(),
            (between(16, 24), between(24, 34)),
            between(-0.6, 0.6),
            between(0.55, 0.8),
            bite=between(0.5, 0.8),
        )
    )
    # stomach and bowel: bright inside, grey wall
    for _ in range(int(rng.integers(1, 4))):
        size = between(13, 26)
        blobs.append(
            Blob(
                (between(5, 75), between(55, 85)),
                drift(),
                (size, size * between(0.75, 1.2)),
                between(0, 3),
                blood * between(0.75, 1.05),
                between(5, 10),
                muscle * between(0.8, 1.2),
            )
        )
    # spine with its canal, aorta beside it
    back = (between(-15, 5), between(72, 85))
    blobs.append(Blob(back, (0.0, 0.0), (between(16, 20), between(14, 18)), 0.0, 0.5))
    blobs.append(Blob((back[0], back[1] + 18), (0.0, 0.0), (7.0, 6.0), 0.0, 0.9, 2.0, 0.2))
    size = between(9, 13)
    blobs.append(
        Blob(
            (back[0] + between(18, 30), back[1] - between(8, 22)),
            drift(),
            (size, size),
            0.0,
            blood,
            between(2, 4),
            muscle,
        )
    )
    # vessels of the lungs and of the chest wall
    for _ in range(int(rng.integers(4, 9))):
        size = between(2.5, 7)
        blobs.append(Blob((between(-95, 95), between(-60, 30)), drift(), (size, size), 0.0, blood * between(0.7, 1.0)))
    return tuple(blobs)


def draw_look(rng: np.random.Generator) -> Look:
    """Draws the grey values of one patient."""
    blood = rng.uniform(0.68, 0.95)
    muscle = rng.uniform(0.22, 0.4)
    first = rng.uniform(-np.pi, np.pi)
    return Look(
        blood=(blood * rng.uniform(0.85, 1.02), blood),
        muscle=muscle,
        fat=rng.uniform(0.6, 0.95),
        lung=rng.uniform(0.05, 0.14),
        body=(rng.uniform(118, 132), rng.uniform(98, 116)),
        fat_layer=rng.uniform(6, 16),
        blobs=_draw_blobs(rng, blood, muscle),
        papillary=(first, first + rng.uniform(1.6, 2.6)),
        bias=rng.normal(0.0, [0.25, 0.25, 0.12, 0.12, 0.12]),
        noise=rng.uniform(0.02, 0.045),
        blur=rng.uniform(1.2, 2.0),
        scale=rng.uniform(180.0, 900.0),
    )


def _paint_blob(canvas: Floats, blob: Blob, position: float, x: Floats, y: Floats) -> None:
    dx = x - blob.centre[0] - blob.drift[0] * position
    dy = y - blob.centre[1] - blob.drift[1] * position
    cos, sin = np.cos(blob.angle), np.sin(blob.angle)
    u, v = cos * dx + sin * dy, cos * dy - sin * dx
    inside = np.hypot(u / blob.axes[0], v / blob.axes[1]) < 1.0
    if blob.bite:
        inside &= np.hypot(u / blob.axes[0] - blob.bite, v / blob.axes[1]) > 0.9
    if blob.rim:
        wall = np.hypot(u / (blob.axes[0] + blob.rim), v / (blob.axes[1] + blob.rim)) < 1.0
        canvas[wall] = blob.rim_value
    canvas[inside] = blob.value


def _paint_heart(canvas: Floats, look: Look, lines: Contours, label: Labels, x: Floats, y: Floats) -> None:
    radius, angle = polar(x, y, lines.centre)
    outer = lines.radius(lines.outer, angle)
    # patches of fat, then the thin free wall, then chambers and muscle
    fat = (radius < outer + 3.0 + 4.0 * np.cos(angle - lines.rv_angle + 0.9)) & (radius > outer)
    canvas[fat] = look.fat
    canvas[(radius < outer + 2.2) & (radius > outer)] = look.muscle
    canvas[label == RV] = look.blood[0]
    canvas[label == MYO] = look.muscle
    canvas[label == LV] = look.blood[1]
    # papillary muscles: dark, yet part of the cavity in the label, as in ACDC
    endo = lines.radius(lines.endo, angle)
    for where in look.papillary:
        px = 0.68 * endo * np.cos(where)
        py = 0.68 * endo * np.sin(where)
        spot = np.hypot(radius * np.cos(angle) - px, radius * np.sin(angle) - py) < 0.17 * endo
        canvas[spot & (label == LV) & (np.abs(wrap(angle - where)) < 1.0)] = 0.5 * (look.muscle + look.blood[1])


def paint(
    look: Look,
    lines: Contours,
    label: Labels,
    position: float,
    x: Floats,
    y: Floats,
    spacing: float,
    rng: np.random.Generator,
) -> Floats:
    """Grey values of one slice.

    Args:
        look: The patient's grey values.
        lines: Contours of the slice.
        label: Dense label of the slice, shape (H, W).
        position: Place of the slice along the long axis, 0 at the base and 1 at the apex.
        x: x coordinate of every pixel centre in mm, shape (H, W).
        y: y coordinate, shape (H, W).
        spacing: Size of a pixel in mm.
        rng: Source of texture and noise.

    Returns:
        Grey values, not negative, shape (H, W).
    """
    canvas = np.full(x.shape, 0.02)
    trunk = np.hypot(x / look.body[0], y / look.body[1])
    canvas[trunk < 1.0] = look.fat
    depth = 1.0 - look.fat_layer / min(look.body)
    canvas[trunk < depth] = look.muscle * 1.1
    canvas[trunk < depth - 0.1] = look.lung
    for blob in look.blobs:
        _paint_blob(canvas, blob, position, x, y)
    canvas[trunk >= 1.0] = 0.02
    _paint_heart(canvas, look, lines, label, x, y)

    texture = gaussian_filter(rng.normal(size=x.shape), 5.0 / spacing, mode="reflect")
    canvas = canvas * (1.0 + 0.1 * texture / texture.std())
    canvas = gaussian_filter(canvas, look.blur / spacing)
    u, v = x / 130.0, y / 130.0
    canvas = canvas * np.exp(np.tensordot(look.bias, np.stack([u, v, u * u, u * v, v * v]), axes=1))
    noisy = np.hypot(canvas + rng.normal(0.0, look.noise, x.shape), rng.normal(0.0, look.noise, x.shape))
    return look.scale * noisy
