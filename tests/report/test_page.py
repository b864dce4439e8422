"""Pages: the numbers of the tables, safe and self-contained HTML, left on the right side."""

import pathlib
import re
import runpy
import subprocess
import sys
import xml.etree.ElementTree

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from harmjax import tables, workdirs
from harmjax.report import head, markup, page, results, samples, strips
from harmjax.runs import logbook
from tests.report import written
from tests.report.written import CENTRES, HOSTILE, NAMES, Reader, read, study, write_run


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
    raw = np.full((12, 2), 240, np.float32)
    s = study(np.zeros((12, 5), np.float32))._replace(features=("age", "chol"), raw=raw)
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


def test_the_tolerated_rise_is_drawn_where_the_legend_names_it(tmp_path):
    s, harm = study(), np.linspace(0, 0.05, 12)
    for policy, lines in (("verify_revisit", 1), ("screen", 0)):
        found = results.read(write_run(tmp_path, s, harm=harm, policy=policy))
        assert strips.chart(found).text.count("stroke-dasharray") == lines
        named = "tolerated rise" in read(page.write(tmp_path, s)).text
        assert named == bool(lines)


def test_every_setting_that_a_page_reads_exists():
    """A key that nobody writes would read as None, and what hangs on it would never be drawn."""
    config, asked = {"config": written.settings()}, set()
    for path in pathlib.Path(page.__file__).parent.glob("*.py"):
        asked |= set(re.findall(r'(?:setting\(\w+, |\bof\()"([\w.]+)"', path.read_text()))
    assert {"policy.verify_revisit.threshold", "policy.name"} <= asked
    for name in asked:
        found = config["config"]
        for part in name.split("."):
            assert part in found, name
            found = found[part]


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
    [(0, 10, "0 to 28%"), (5, 10, "24 to 76%"), (1, 1, "21 to 100%")],
)
def test_interval_agrees_with_published_values(count, of, expected):
    assert head.interval(count, of) == expected


def test_picture_in_docs_is_the_one_that_the_code_draws():
    docs = pathlib.Path(__file__).parents[2] / "docs"
    text = (docs / "travelling.svg").read_text(encoding="utf-8")
    assert text == runpy.run_path(str(docs / "travelling.py"))["picture"]().text + "\n"
    tree = xml.etree.ElementTree.fromstring(text)
    assert tree.tag == "{http://www.w3.org/2000/svg}svg"
    assert "script" not in text and "href" not in text


def test_matplotlib_is_imported_by_pages_only_and_never_pyplot():
    code = (
        "import sys, harmjax.report, harmjax.runs.logbook; assert 'matplotlib' not in sys.modules; "
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


def test_what_scoring_costs_is_on_the_page(tmp_path):
    s = study()
    write_run(tmp_path, s, gone=(0,))
    entries = logbook.read_cost(tmp_path / "cost.json")
    before = head.per_image_and_cycle(results.read(tmp_path), len(s.names), ("control",))
    more = {"score": {"forward": 24, "gradient": 0, "jvp": 12}, "score_bytes": 9 * 10**6}
    scored = [e | more for e in entries]
    workdirs.write_json(tmp_path / "cost.json", logbook.summarise_cost(scored))
    after = head.per_image_and_cycle(results.read(tmp_path), len(s.names), ("control",))
    # Of every cycle a model of 1 MB and 9 MB of evidence, in two cycles under control.
    assert "quality control 2 24 168 24 288 12 20.0" in read(page.write(tmp_path, s)).text
    assert after - before == (24 + 2 * 12) / len(s.names)
