"""Pages: the numbers of the tables, safe and self-contained HTML, left on the right side."""

import base64
import html.parser
import io
import json
import pathlib
import re
import subprocess
import sys
import xml.etree.ElementTree
from typing import NamedTuple

import hypothesis
import matplotlib.image
import numpy as np
import pytest
from hypothesis import strategies

from harmjax import logbook, preparation, tables, types
from harmjax.report import detection, head, markup, page, picture, results, samples, slices, strips

CENTRES = ("North", "South", "West")
CENTRE = np.repeat([0, 1, 2], 4)
NAMES = tuple(f"p{i:02d}" for i in range(12))
LABEL = np.tile([0, 1], 6)
HOSTILE = '<script>alert("x")</script>&\'"><img src=x onerror=alert(1)>'
CONFIG = {
    "seed": 7,
    "data": {"spacing": 16.0, "slices": [], "features": []},
    "scenario": {"name": "singles", "harm": ["inversion"], "count": 2},
    "model": {"name": "sfcn", "width": 0.5},
    "train": {"topology": "travelling", "cycles": 4, "warmup_cycles": 2},
    "policy": {"name": "verify_revisit", "threshold": 0.02, "revisit_after": 2},
}


def volumes(shape=(10, 12, 10), dtype=np.uint8):
    return np.random.default_rng(0).integers(0, 200, (12, *shape)).astype(dtype)


def study(image=None, names=NAMES, corrupted=(), centres=CENTRES):
    image = volumes() if image is None else image
    train = types.Samples(image, LABEL, CENTRE, np.arange(12))
    held_out = types.Samples(image[:10], np.repeat([0, 1], [4, 6]), CENTRE[:10], np.arange(10))
    planted = np.isin(np.arange(12), corrupted)
    nobody = np.zeros(12, bool)
    return preparation.Study(
        train=train,
        verification=held_out,
        test=held_out,
        names=tuple(names),
        centres=centres,
        groups={},
        simulated=bool(len(corrupted)),
        corrupted=planted,
        kind=tuple("inversion" if p else "" for p in planted),
        keep=nobody,
        drop=nobody,
        text="",
    )


def metrics(cycles, rates):
    groups = (("all", 10), ("sex=F", 4), ("sex=M", 6))
    return [
        [c, split, g, n, 0.7, 1 - rates[1], 1 - rates[0], 0.66, 0.8125, *rates, 0.4321]
        for c in cycles
        for split in ("verification", "test")
        for g, n in groups
    ]


def write_run(workdir, s, *, gone=(), waiting=(), policy="verify_revisit", decided=True,
              delivered=True, harm=None):  # fmt: skip
    """A finished run in a folder, as training leaves it."""
    nothing = np.full(12, np.nan)
    verdicts = types.Verdicts(
        harm=nothing if harm is None else np.asarray(harm, float),
        pending=np.isin(np.arange(12), waiting),
        eliminated=np.isin(np.arange(12), gone),
        cycle=np.where(np.isin(np.arange(12), [*gone, *waiting]), 3, -1),
    )
    mask = ~(verdicts.pending | verdicts.eliminated)
    corrupted = s.corrupted if s.simulated else None
    logbook.write_harm(
        workdir / "harm.csv", s.names, s.centres, CENTRE, LABEL, verdicts, mask, corrupted, s.kind
    )
    counts = types.Counts(tp=5, fp=1, tn=3, fn=1)
    rows = [logbook.baseline_row(2, counts)]
    if decided:
        rates = [0.75, 1 / 6, 0.25, 1 / 6, 0.1]
        rows.append([2, 0, "North", "batch", ";".join(s.names[:4]), 5, 3, 1, 1, *rates, 0])
        rows += [[2, 0, "North", "single", s.names[i], 5, 3, 1, 1, *rates, 0] for i in (0, 1)]
        rows.append(
            [2, 1, "South", "batch", ";".join(s.names[4:8]), 5, 1, 3, 1, 0.25, *rates[1:], 1]
        )
        rows += [[3, None, "North", "revisit", s.names[i], 5, 3, 1, 1, *rates, 0] for i in gone]
    tables.write(workdir / "decisions.csv", logbook.DECISIONS, rows)
    tables.write(workdir / "metrics.csv", logbook.METRICS, metrics(range(4), (0.5, 0.5)))
    if delivered:
        after = metrics(range(2, 4), (0.25, 1 / 3))
        tables.write(workdir / "delivered.csv", logbook.METRICS, after)
    entry = {"gradient": 12, "forward": 60, "model_bytes": 10**6, "count_bytes": 0, "seconds": 1.5}
    phases = [("warmup", 0), ("warmup", 1), ("control", 2), ("control", 3)]
    entries = [entry | {"phase": p, "cycle": c} for p, c in phases]
    logbook.write_json(workdir / "cost.json", logbook.summarise_cost(entries))
    config = CONFIG | {"policy": CONFIG["policy"] | {"name": policy}}
    logbook.write_json(workdir / "config.json", {"config": config, "devices": ["cpu:0"]})
    return workdir


class Reader(html.parser.HTMLParser):
    """Collects what a browser would act on, and fails on tags that do not close."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.links, self.tags, self.words = [], [], [], set(), []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.add(tag)
        self.ids += [attrs["id"]] if "id" in attrs else []
        self.links += [attrs[k] for k in ("href", "src", "xlink:href") if k in attrs]
        assert not [name for name in attrs if name.startswith("on")]
        if tag not in markup.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))


def read(path):
    return Reader(pathlib.Path(path).read_text(encoding="utf-8"))


def test_page_tells_what_was_found_and_what_it_means(tmp_path):
    s = study(corrupted=(0, 5, 9))
    harm = np.full(12, np.nan)
    harm[[0, 1, 5]] = 0.5, 0.125, -0.25
    write_run(tmp_path, s, gone=(0, 1), waiting=(5,), harm=harm)
    text = read(page.write(tmp_path, s)).text
    assert "2 of 12 training samples were eliminated and 1 is pending." in text
    assert (
        "Of 3 planted harmful samples 1 was found and eliminated, 1 is pending and 1 missed" in text
    )
    assert "1 of 9 good samples was wrongly eliminated" in text
    # The test split has 4 controls and 6 patients.
    assert "1 of 4 controls (25.0%, 95% interval 5 to 70%) ill" in text
    assert "2 of 6 patients (33.3%, 95% interval 10 to 70%)" in text
    assert "9 of 12 training samples have no harm score" in text
    assert "1 more centres with 4 samples have no sample of known harm." in text
    assert "harm 0.5" in text and "harm 0.125" in text
    # (3 x 12 gradients + 60 forward passes) / 12 samples, per cycle.
    assert "8 forward-equivalents per training image and cycle" in text
    assert "Showing 3 of 3" in text and "showing 1 of 1" in text
    for number in ("0.812", "0.432", "0.660"):
        assert number in text


def test_subgroups_are_those_of_the_delivered_model_in_its_last_cycle(tmp_path):
    s = study()
    found = results.read(write_run(tmp_path, s))
    assert [row["group"] for row in results.last(found)] == ["all", "sex=F", "sex=M"]
    assert {row["cycle"] for row in results.last(found)} == {"3"}
    assert {results.number(row["fpr"]) for row in results.last(found)} == {0.25}
    (tmp_path / "delivered.csv").unlink()
    found = results.read(tmp_path)
    assert {results.number(row["fpr"]) for row in results.last(found)} == {0.5}


@pytest.mark.parametrize(
    ("corrupted", "settings"),
    [
        ((), {}),
        ((0, 5), {"policy": "none", "decided": False, "delivered": False}),
        ((0, 5), {"policy": "oracle", "decided": False, "delivered": False, "gone": (0, 5)}),
        ((), {"gone": tuple(range(12)), "harm": np.linspace(-1, 1, 12)}),
        ((0,), {"policy": "screen", "harm": np.zeros(12), "waiting": (3,), "decided": False}),
    ],
    ids=["nothing found", "none", "oracle", "all gone", "every harm zero"],
)
def test_page_is_whole_and_self_contained(tmp_path, corrupted, settings):
    s = study(corrupted=corrupted)
    path = page.write(write_run(tmp_path, s, **settings), s)
    found = read(path)
    assert path.name == "report.html"
    assert not found.tags & {"script", "link", "iframe", "object", "a", "base", "form"}
    assert len(found.ids) == len(set(found.ids))
    inside = {f"#{name}" for name in found.ids}
    assert all(link.startswith("data:image/png;base64,") or link in inside for link in found.links)
    raw = path.read_text(encoding="utf-8")
    assert not re.search(r"https?://|@import|url\((?!#)", raw)
    assert not [p for p in tmp_path.iterdir() if p.suffix == ".part"]


def test_page_without_images_holds_no_pixels_but_names_the_suspects(tmp_path):
    s = study()
    write_run(tmp_path, s, gone=(0, 1))
    found = read(page.write(tmp_path, s, images=False))
    assert "image" not in found.tags and "img" not in found.tags
    assert "p00" in found.text and "the scans or features of 2 samples" in found.text


def test_suspects_are_cut_visibly_and_the_most_harmful_come_first(tmp_path):
    s, harm = study(), np.arange(12.0)
    write_run(tmp_path, s, gone=(0, 1, 2, 3), waiting=(9, 10), harm=harm)
    found = read(page.write(tmp_path, s, max_samples=5))
    assert "Showing 5 of 6" in found.text
    shown = samples.suspects(results.read(tmp_path).harm, 5)
    assert shown == ([3, 2, 1, 0, 10], 6)


def test_hostile_names_stay_text(tmp_path):
    names = [HOSTILE + str(i) for i in range(12)]
    centres = (HOSTILE, "$\\frac{1}{2}$", "北京")
    s = study(names=names, corrupted=(0,), centres=centres)
    s = s._replace(kind=(HOSTILE, *s.kind[1:]))
    write_run(tmp_path, s, gone=(0, 4), waiting=(8,), harm=np.arange(12.0))
    found = read(page.write(tmp_path, s))
    assert not found.tags & {"script", "img"}
    assert HOSTILE + "0" in " ".join(found.words)
    assert "北京" in found.text
    assert "$\\frac{1}{2}$" in strips.chart(results.read(tmp_path)).text


@hypothesis.given(strategies.text(), strategies.text())
@hypothesis.settings(max_examples=50, deadline=None)
def test_elements_escape_whatever_they_are_given(inside, value):
    text = markup.element("p", inside, title=value).text
    assert Reader(text).tags == {"p"}
    assert markup.html.escape(inside) in text and markup.html.escape(value) in text


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
    logbook.write_json(tmp_path / "config.json", about)
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


def test_twin_is_kept_and_of_the_same_centre_and_class(tmp_path):
    s = study(corrupted=(2,))
    harm = results.read(write_run(tmp_path, s, gone=(0, 4, 5, 6, 7))).harm
    # Sample 2 shares centre and class with 0 but is planted; 1 and 3 share the centre.
    assert samples.twin(harm, 0) == 1
    assert samples.twin(harm, 8) == 10
    # Nothing is left of centre 1: the same class elsewhere.
    assert harm.label[samples.twin(harm, 4)] == harm.label[4]
    gone = results.read(write_run(tmp_path, s, gone=range(12))).harm
    assert samples.twin(gone, 0) is None


def test_features_are_compared_with_what_the_centre_keeps(tmp_path):
    table = np.tile(np.arange(12.0)[:, None], (1, 2)).astype(np.float32)
    table[3] = 1000, np.nan
    s = study(table)
    path = page.write(write_run(tmp_path, s, gone=(3,)), s)
    text = read(path).text
    # Centre North keeps 0, 1 and 2: median 1, median distance 1.
    assert re.search(
        r"this sample 1000 – median of 3 kept at its centre 1 1 typical distance 1 1", text
    )
    assert '<span class="odd">1000</span>' in path.read_text(encoding="utf-8")


def test_features_are_shown_in_their_own_units_where_the_study_has_them(tmp_path):
    fields = dict.fromkeys((*preparation.Study._fields, "features", "raw"))
    wider = NamedTuple("wider", [(name, object) for name in fields])
    raw = np.full((12, 2), 240, np.float32)
    s = study(np.zeros((12, 5), np.float32))
    s = wider(**(s._asdict() | {"features": ("age", "chol"), "raw": raw}))
    text = read(page.write(write_run(tmp_path, s, gone=(3,)), s)).text
    assert "age chol this sample 240 240" in text


def test_strips_order_centres_by_what_was_found(tmp_path):
    s = study()
    harm = np.full(12, np.nan)
    harm[[0, 4, 5]] = 0.9, 0.1, 0.2
    found = results.read(write_run(tmp_path, s, gone=(4,), harm=harm))
    assert strips._order(found.harm) == ["South", "North"]
    drawn = strips.chart(found).text
    assert drawn.index(">South<") < drawn.index(">North<") and ">West<" not in drawn
    assert ">+3<" in drawn and ">+2<" in drawn
    assert strips.chart(results.read(write_run(tmp_path, s))) is None


def test_dots_of_one_centre_do_not_lie_on_one_another(tmp_path):
    s = study()
    found = results.read(write_run(tmp_path, s, harm=np.zeros(12)))
    height, middle, total = strips._places(found.harm, list(CENTRES))
    assert len(np.unique(np.round(height, 6))) == 12
    assert (np.diff(np.sort(height)) > 0.2).all() and 0 < height.min() < height.max() < total
    assert middle == sorted(middle)


def test_unfinished_run_and_foreign_study_are_refused(tmp_path):
    s = study()
    with pytest.raises(ValueError, match=r"holds no harm.csv: the run is not finished"):
        page.write(tmp_path, s)
    write_run(tmp_path, s)
    with pytest.raises(ValueError, match="pass the run's own study"):
        page.write(tmp_path, study(names=NAMES[::-1]))


def test_run_without_config_still_has_a_page(tmp_path):
    s = study()
    write_run(tmp_path, s, gone=(0,))
    for name in ("config.json", "cost.json", "decisions.csv"):
        (tmp_path / name).unlink()
    assert "No cost was recorded" in read(page.write(tmp_path, s)).text


@pytest.mark.parametrize(
    ("count", "of", "expected"),
    [(0, 10, (0, 0.2775)), (5, 10, (0.2366, 0.7634)), (1, 1, (0.2065, 1))],
)
def test_interval_agrees_with_published_values(count, of, expected):
    np.testing.assert_allclose(head.wilson(count, of), expected, atol=5e-5)


HEADER = (
    *("scenario", "harm", "seed", "policy", "planted", "eliminated", "hits", "recall", "good"),
    *("wrongly_eliminated", "false_rate", "auroc", "average_precision", "test_auroc", "test_fpr"),
    *("test_fnr", "forward_equivalents", "seconds"),
)


def grid(policies=("none", "verify_revisit"), seeds=(0, 1)):
    for seed in seeds:
        for policy in policies:
            found = 0.25 + 0.5 * seed if policy != "none" else 0.0
            score = None if policy == "none" else 0.9
            yield ["singles", "inversion", seed, policy, 4, 4, 1, found, 96, 0, 0.0, score, score,
                   0.8, 0.2, 0.1, 1e6, 3.5]  # fmt: skip


def test_detection_page_shows_means_over_seeds(tmp_path):
    tables.write(tmp_path / "detection.csv", HEADER, grid())
    path = detection.write(tmp_path)
    found = read(path)
    assert "4 runs: 2 policies, 1 scenarios, 1 harms, 2 seeds" in found.text
    assert "50.0% (35.4)" in found.text  # recall of 0.25 and 0.75
    assert "1,000,000 (0)" in found.text
    assert len(found.ids) == len(set(found.ids)) and "script" not in found.tags
    assert not re.search(r"https?://", path.read_text(encoding="utf-8"))
    for name in ("errors", "found", "cost"):
        pixels = matplotlib.image.imread(tmp_path / f"detection_{name}.png")
        assert np.all(pixels[0, 0] == 1), "pictures stand on white, not on nothing"
        assert pixels.std() > 0.01


def test_detection_page_of_one_run_and_of_none(tmp_path):
    tables.write(tmp_path / "detection.csv", HEADER, list(grid(("none",), (0,))))
    assert "AUROC of the harm score" not in read(detection.write(tmp_path)).text
    tables.write(tmp_path / "detection.csv", HEADER, [])
    with pytest.raises(ValueError, match="run experiments.detect first"):
        detection.write(tmp_path)


def test_picture_in_docs_is_the_one_that_the_code_draws():
    committed = pathlib.Path(__file__).parents[1] / "docs" / "travelling.svg"
    text = committed.read_text(encoding="utf-8")
    assert text == picture.picture().text + "\n"
    tree = xml.etree.ElementTree.fromstring(text)
    assert tree.tag == "{http://www.w3.org/2000/svg}svg"
    assert "script" not in text and "href" not in text


def test_matplotlib_is_imported_by_pages_only_and_never_pyplot():
    code = (
        "import sys, harmjax.report, harmjax.logbook; assert 'matplotlib' not in sys.modules; "
        "import harmjax.report.page, harmjax.report.detection; "
        "assert 'matplotlib' in sys.modules and 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_tables_in_pages_quote_the_csv(tmp_path):
    s = study()
    path = page.write(write_run(tmp_path, s, gone=(0,)), s)
    text = read(path).text
    refused = [r for r in tables.read(tmp_path / "decisions.csv") if r["accepted"] == "0"]
    assert f"showing the latest {len(refused)} of {len(refused)}" in text
    assert "2 0 North batch p00, p01, p02, p03 75.0% 25.0% 16.7% 16.7% 10.0%" in text
