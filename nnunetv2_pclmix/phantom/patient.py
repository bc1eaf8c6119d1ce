"""One phantom patient: end-diastolic and end-systolic stack with dense labels and scribbles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnunetv2_pclmix.phantom.anatomy import FRAMES, Heart, contours, dense_label, draw_heart
from nnunetv2_pclmix.phantom.appearance import Look, draw_look, paint
from nnunetv2_pclmix.phantom.scribble import scribble

FIELD_OF_VIEW_MM = 268.0


@dataclass(frozen=True)
class Frame:
    """One stack of slices, arrays of shape (slices, H, W).

    Attributes:
        image: Grey values, int16.
        label: Dense label, uint8: 0 background, 1 RV, 2 MYO, 3 LV.
        scribble: Scribbles, uint16: the same codes and 4 for unlabelled.
    """

    image: NDArray[np.int16]
    label: NDArray[np.uint8]
    scribble: NDArray[np.uint16]


@dataclass(frozen=True)
class Patient:
    """A phantom patient.

    Attributes:
        frames: End diastole and end systole.
        frame_numbers: Their numbers in the imagined cine, from 1, as ACDC counts them.
        n_frames: Length of the imagined cine.
        spacing: (x, y, z) in mm.
        origin: (x, y, z) in mm.
        direction: Direction cosines, row by row.
        group: Group name as in ACDC's ``Info.cfg``.
        height: Body height in cm.
        weight: Body weight in kg.
    """

    frames: dict[str, Frame]
    frame_numbers: dict[str, int]
    n_frames: int
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: tuple[float, ...]
    group: str
    height: float
    weight: float


def _direction(rng: np.random.Generator) -> tuple[float, ...]:
    """A rotation by up to 45 degrees around a random axis: short-axis stacks are oblique."""
    axis = rng.normal(size=3)
    axis /= np.linalg.norm(axis)
    angle = rng.uniform(0.1, 0.8)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    matrix = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return tuple(float(value) for value in matrix.ravel())


def render_frame(
    heart: Heart, look: Look, frame: str, n_slices: int, spacing: float, rng: np.random.Generator
) -> Frame:
    """Renders one stack of a heart.

    Args:
        heart: Shape.
        look: Grey values.
        frame: ``"ED"`` or ``"ES"``.
        n_slices: Number of slices from base to apex.
        spacing: Size of a pixel in mm.
        rng: Source of noise, of breathing between the slices and of the hand that scribbles.
    """
    size = round(FIELD_OF_VIEW_MM / spacing)
    axis = (np.arange(size) - 0.5 * (size - 1)) * spacing
    y, x = np.meshgrid(axis, axis, indexing="ij")
    images, labels, scribbles = [], [], []
    for position in np.linspace(0.03, 0.97, n_slices):
        lines = contours(heart, float(position), frame)
        breath = rng.normal(0.0, 1.2, 2)
        here_x, here_y = x - breath[0], y - breath[1]
        label = dense_label(lines, here_x, here_y)
        labels.append(label)
        images.append(paint(look, lines, label, float(position), here_x, here_y, spacing, rng))
        scribbles.append(scribble(lines, label, here_x, here_y, spacing, rng))
    image = np.clip(np.rint(np.stack(images)), 0, np.iinfo(np.int16).max).astype(np.int16)
    return Frame(image, np.stack(labels), np.stack(scribbles))


def make_patient(rng: np.random.Generator) -> Patient:
    """Draws and renders one patient."""
    heart, look = draw_heart(rng), draw_look(rng)
    spacing = float(np.round(rng.uniform(2.25, 2.55), 4))
    n_slices = int(rng.integers(6, 9))
    n_frames = int(rng.integers(20, 31))
    return Patient(
        frames={name: render_frame(heart, look, name, n_slices, spacing, rng) for name in FRAMES},
        frame_numbers={"ED": 1, "ES": int(rng.integers(7, 14))},
        n_frames=n_frames,
        spacing=(spacing, spacing, float(rng.choice([8.0, 10.0]))),
        origin=tuple(float(value) for value in np.round(rng.uniform(-100, 100, 3), 2)),  # type: ignore[arg-type]
        direction=_direction(rng),
        group=str(rng.choice(["NOR", "DCM", "HCM", "MINF", "RV"])),
        height=float(np.round(rng.uniform(155, 192), 1)),
        weight=float(np.round(rng.uniform(50, 100), 1)),
    )
