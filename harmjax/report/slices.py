"""One scan as orthogonal slices in an SVG, measured in millimetres.

Radiological convention: axial and coronal slices are seen as if facing the person, so that the
person's right is on the left of the picture. Images are canonical: x grows to the person's right,
y to the front, z to the top.
"""

import base64
import io
from typing import NamedTuple

import numpy as np
import PIL.Image

from harmjax.data.scans import nifti
from harmjax.report import markup

GAP, FOOT = 6.0, 24.0  # mm between pictures, and below them
BAR_MM = 50


class View(NamedTuple):
    """One slice as it is looked at."""

    pixels: np.ndarray  # [rows, columns] uint8
    width: float  # mm, or voxels where the grid is not known
    height: float
    left: str  # which side of the person is at the left of the picture
    right: str
    place: str  # where the slice lies


def grid(shape, spacing: float):
    """The affine [4, 4] of images of this shape, or None where they are not on the model's grid.

    Args:
        shape: (X, Y, Z), or (X, Y, C) of axial slices.
        spacing: In mm.
    """
    expected, affine = nifti.grid(spacing)
    return affine if tuple(shape[:2]) == expected[:2] else None


def orthogonal(volume, affine, window) -> list[View]:
    """Axial, coronal and sagittal views through the middle of a volume.

    Args:
        volume: [X, Y, Z].
        affine: [4, 4] from voxel to mm, or None.
        window: Intensities shown as black and as white.
    """
    grey = _grey(volume, window)
    i, j, k = (side // 2 for side in volume.shape)
    # A picture's rows run downwards: the front or the top has to come first.
    return [
        _view(grey[::-1, ::-1, k].T, affine, "RL", 2, k),
        _view(grey[::-1, j, ::-1].T, affine, "RL", 1, j),
        _view(grey[i, ::-1, ::-1].T, affine, "AP", 0, i),
    ]


def axial(image, positions, affine, window) -> list[View]:
    """One view per axial slice of a 2-D image [X, Y, C]; positions in mm, or () if unknown."""
    grey = _grey(image, window)
    made = []
    for channel in range(image.shape[2]):
        view = _view(grey[::-1, ::-1, channel].T, affine, "RL", 2, channel)
        named = channel < len(positions)
        place = f"z {positions[channel]:g} mm" if named else f"slice {channel + 1}"
        made.append(view._replace(place=place))
    return made


def window(images) -> tuple[float, float]:
    """Black and white for scans that are looked at side by side."""
    if all(image.dtype == np.uint8 for image in images):
        return 0.0, 255.0
    values = np.concatenate([np.ravel(image).astype(np.float32) for image in images])
    low, high = np.percentile(values[np.isfinite(values)], [0.5, 99.5])
    return float(low), float(max(high, low + 1e-6))


def mosaic(views: list[View], description: str, *, scaled: bool) -> markup.Html:
    """The views side by side, with sides, places and a bar of 50 mm where the scale is known."""
    at, top, parts = 0.0, max(view.height for view in views), []
    unit = sum(view.width for view in views) / 520
    for view in views:
        parts += _picture(view, at, top - view.height, unit)
        at += view.width + GAP * unit
    full = at - GAP * unit
    if scaled:
        line = top + 11 * unit
        bar = dict(x1=full - 2 * unit - BAR_MM, x2=full - 2 * unit, y1=line, y2=line)
        parts.append(
            markup.element("line", stroke="#fff", stroke_width=f"{2 * unit:.4g}", **_short(bar))
        )
        parts.append(_label(f"{BAR_MM} mm", bar["x1"] - 5 * unit, line + 5 * unit, unit, "end"))
    return markup.element(
        "svg",
        parts,
        viewBox=f"0 0 {full:.6g} {top + FOOT * unit:.6g}",
        role="img",
        aria_label=description,
    )


def _view(pixels, affine, sides, axis, index) -> View:
    left, right = sides
    rows, columns = pixels.shape
    if affine is None:
        return View(pixels, columns, rows, left, right, f"{'xyz'[axis]} voxel {index}")
    across, down = {0: (1, 2), 1: (0, 2), 2: (0, 1)}[axis]
    position = affine[axis, axis] * index + affine[axis, 3]
    return View(
        pixels,
        columns * affine[across, across],
        rows * affine[down, down],
        left,
        right,
        f"{'xyz'[axis]} {position:g} mm",
    )


def _picture(view: View, x, y, unit) -> list[markup.Html]:
    return [
        markup.element(
            "image",
            href="data:image/png;base64," + base64.b64encode(png(view.pixels)).decode(),
            preserveAspectRatio="none",
            **_short(dict(x=x, y=y, width=view.width, height=view.height)),
        ),
        _label(view.left, x + 4 * unit, y + 15 * unit, unit, "start"),
        _label(view.right, x + view.width - 4 * unit, y + 15 * unit, unit, "end"),
        _label(view.place, x + 2 * unit, y + view.height + 16 * unit, unit, "start"),
    ]


def _label(text, x, y, unit, anchor) -> markup.Html:
    # The black rim keeps white letters legible on a white background.
    rim = dict(stroke="#000", stroke_width=f"{3 * unit:.4g}", paint_order="stroke")
    size = f"{13 * unit:.4g}"
    return markup.element("text", text, fill="#fff", font_size=size, text_anchor=anchor,
                          **rim, **_short(dict(x=x, y=y)))  # fmt: skip


def _short(numbers: dict) -> dict:
    return {key: f"{value:.6g}" for key, value in numbers.items()}


def _grey(image, window) -> np.ndarray:
    low, high = window
    scaled = (np.asarray(image, np.float32) - low) / (high - low)
    return np.rint(255 * np.clip(np.nan_to_num(scaled), 0, 1)).astype(np.uint8)


def png(pixels: np.ndarray) -> bytes:
    """A grey image [rows, columns] uint8 as a PNG file."""
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "png", optimize=True)
    return file.getvalue()
