"""Pictures of scans: left on the right side, true to scale, one window for a pair."""

import base64
import io
import json
import pathlib
import re

import matplotlib.image
import numpy as np
import pytest

from harmjax import workdirs
from harmjax.report import page, slices
from tests.report.written import read, study, volumes, write_run


def pictures(path):
    """Every picture on a page: (pixels, x of its left side, x of its right side)."""
    raw = pathlib.Path(path).read_text(encoding="utf-8")
    for tag in re.findall(r"<image [^>]*>", raw):
        content = base64.b64decode(re.search(r"base64,([^\"]*)", tag).group(1))
        pixels = matplotlib.image.imread(io.BytesIO(content))
        place = {k: float(re.search(rf' {k}="([^"]*)"', tag).group(1)) for k in ("x", "width")}
        yield pixels, place["x"], place["x"] + place["width"]


def test_left_is_where_the_page_says_it_is(tmp_path):
    """One bright voxel near the person's left, front and top: it must lie by the letters."""
    image = np.zeros((12, 10, 12, 10), np.uint8)
    image[0] = 10
    image[0, 1, 10, 8] = 255  # canonical axes: x to the right, y to the front, z to the top
    image[0, 1, 6, 8] = image[0, 1, 10, 5] = image[0, 5, 10, 8] = 255
    s = study(image)
    path = page.write(write_run(tmp_path, s, gone=(0,)), s)
    (axial, low, high), (coronal, *_), (sagittal, *_) = list(pictures(path))[:3]
    assert axial.shape == (12, 10) and coronal.shape == (10, 10) and sagittal.shape == (10, 12)
    assert np.unravel_index(axial.argmax(), axial.shape) == (1, 8)
    assert np.unravel_index(coronal.argmax(), coronal.shape) == (1, 8)
    assert np.unravel_index(sagittal.argmax(), sagittal.shape) == (1, 1)
    drawing = re.search(r"<svg [^>]*Slices.*?</svg>", path.read_text(encoding="utf-8")).group()
    letters = re.findall(r'<text [^>]*x="([^"]*)"[^>]*>([RLAP])</text>', drawing)
    assert [letter for _, letter in letters] == ["R", "L", "R", "L", "A", "P"]
    x = [float(place) for place, _ in letters]
    middle = (low + high) / 2
    assert x[0] < middle < x[1], "the axial picture's left half must carry the R"
    assert "Radiological convention" in read(path).text
    # Voxel 5 of 10 in 16 mm voxels from -80, -112, -72 mm on.
    for place in ("x 8 mm", "y -8 mm", "z 16 mm", "50 mm"):
        assert place in read(path).text


def test_scale_bar_is_true_to_scale():
    views = slices.orthogonal(volumes()[0], slices.grid((10, 12, 10), 16.0), (0, 255))
    assert [(v.width, v.height) for v in views] == [(160, 192), (160, 160), (192, 160)]
    text = slices.mosaic(views, "a scan", scaled=True).text
    ends = re.search(r'<line [^>]*x1="([^"]*)" x2="([^"]*)"', text).groups()
    assert float(ends[1]) - float(ends[0]) == pytest.approx(50)


def test_images_off_the_grid_get_no_millimetres(tmp_path):
    s = study(volumes((6, 6, 6)))
    text = read(page.write(write_run(tmp_path, s, gone=(0,)), s)).text
    assert "x voxel 3" in text and "50 mm" not in text


def test_two_dimensional_images_show_every_slice(tmp_path):
    s = study(volumes((10, 12, 2)))
    write_run(tmp_path, s, gone=(0,))
    about = json.loads((tmp_path / "config.json").read_text())
    about["config"]["data"]["slices"] = [-8, 24]
    workdirs.write_json(tmp_path / "config.json", about)
    path = page.write(tmp_path, s)
    assert len(list(pictures(path))) == 4
    assert "z -8 mm" in read(path).text and "z 24 mm" in read(path).text


def test_pictures_of_a_pair_share_their_window():
    bright, dark = np.full((2, 2), 9, np.float32), np.full((2, 2), -1, np.float32)
    assert slices.window([bright, dark]) == (-1, 9)
    assert slices.window([np.zeros(3, np.uint8)]) == (0, 255)


def test_png_reads_back():
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    back = matplotlib.image.imread(io.BytesIO(slices.png(pixels)))
    np.testing.assert_array_equal(np.rint(255 * back), pixels)
