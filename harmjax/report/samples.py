"""Every eliminated or suspected sample beside a kept one of the same centre."""

from typing import NamedTuple

import numpy as np

from harmjax import types
from harmjax.report import markup, results, slices

UNNAMED = ("control", "disease")  # what a person has, where nobody has named the classes
ODD = 3.5  # robust standard deviations from the centre's median, beyond which a value stands out


class Shown(NamedTuple):
    """Which samples a page looks at, by index."""

    chosen: list[int]  # in the order of the page, cut
    total: int  # before the cut


def suspects(harm: results.Harm, most: int) -> Shown:
    """Eliminated and pending samples, the most harmful first within each; cut to `most`."""
    return _ranked(harm, np.isin(harm.verdict, ("eliminated", "pending")), most)


def missed(harm: results.Harm, most: int) -> Shown:
    """In simulations, planted harmful samples that were kept; cut to `most`."""
    return _ranked(harm, harm.corrupted & (harm.verdict == "kept"), most)


def _ranked(harm, which, most) -> Shown:
    rank = np.lexsort(
        (-np.nan_to_num(harm.harm, nan=-np.inf), harm.verdict != "eliminated", ~which)
    )
    total = int(which.sum())
    return Shown(rank[:total][:most].tolist(), total)


def twin(harm: results.Harm, index: int) -> int | None:
    """A kept sample to compare with: of the same centre, of the same class if there is one.

    Where the centre has none, one of another centre; planted harm is not compared with itself.
    """
    kept = (harm.verdict == "kept") & (harm.mask > 0) & ~harm.corrupted
    kept[index] = False
    same_class = harm.label == harm.label[index]
    here = harm.centre == harm.centre[index]
    for which in (kept & here & same_class, kept & here, kept & same_class, kept):
        if which.any():
            found = np.flatnonzero(which)
            return int(found[np.argmin(np.abs(found - index))])
    return None


def cards(study, found: results.Results, chosen) -> list[markup.Html]:
    """One card per sample: who it is, what was measured, and the sample beside its twin."""
    show = _features if study.train.image.ndim == 2 else _images
    return [
        markup.element(
            "article",
            _heading(found, i),
            _evidence(found.harm, i),
            show(study, found, i, twin(found.harm, i)),
            class_="scan",
        )
        for i in chosen
    ]


def _heading(found, i) -> markup.Html:
    harm = found.harm
    verdict = harm.verdict[i]
    cycle = f" in cycle {harm.cycle[i]:.0f}" if np.isfinite(harm.cycle[i]) else ""
    score = f"harm {harm.harm[i]:.3g}" if np.isfinite(harm.harm[i]) else "harm unknown"
    chance = f", p {harm.p_value[i]:.2g}" if np.isfinite(harm.p_value[i]) else ""
    truth = None
    if harm.simulated:
        planted = f"planted: {harm.kind[i] or 'harmful'}"
        good = harm.corrupted[i] == (verdict != "kept")
        words = planted if harm.corrupted[i] else "a good sample"
        truth = markup.element("span", words, class_=f"badge {'good' if good else 'eliminated'}")
    return markup.element(
        "header",
        markup.element("h3", harm.subject[i]),
        markup.element("span", verdict + cycle, class_=f"badge {verdict}"),
        truth,
        markup.element(
            "span",
            f"{harm.centre[i]}, {_diagnosis(found, i)}, {score}{chance}",
            class_="muted",
        ),
    )


def _diagnosis(found, i) -> str:
    words = UNNAMED if found.classes == types.BINARY else found.classes
    return words[found.harm.label[i]]


def _evidence(harm, i) -> markup.Html | None:
    """What was measured about the sample, and how that ranks among all training samples."""
    words = []
    for name, values in harm.evidence.items():
        known = values[np.isfinite(values)]
        if np.isfinite(values[i]):
            below = (known < values[i]).mean()
            words.append(f"{name} {values[i]:.3g} (above {below:.0%} of all samples)")
    return markup.element("p", "; ".join(words), class_="muted") if words else None


def _images(study, found, i, other) -> markup.Html:
    harm = found.harm
    pictures = [np.asarray(study.train.image[k]) for k in (i, other) if k is not None]
    positions = results.setting(found, "data.slices", ())
    spacing = results.setting(found, "data.spacing", 4.0)
    affine = slices.grid(pictures[0].shape, spacing)
    shades = slices.window(pictures)

    def figure(k, picture, caption):
        if positions:
            views = slices.axial(picture, positions, affine, shades)
        else:
            views = slices.orthogonal(picture, affine, shades)
        described = f"Slices of {harm.subject[k]}, {caption}"
        drawn = slices.mosaic(views, described, scaled=affine is not None)
        return markup.element("figure", drawn, markup.element("figcaption", caption))

    made = [figure(i, pictures[0], f"{harm.subject[i]}, {harm.verdict[i]}")]
    if other is not None:
        made.append(figure(other, pictures[1], _twin_caption(found, i, other)))
    return markup.element("div", made, class_="pair")


def _twin_caption(found, i, other) -> str:
    harm, where = found.harm, "of the same centre"
    if harm.centre[other] != harm.centre[i]:
        where = f"of {harm.centre[other]}, as no sample of {harm.centre[i]} is left to compare with"
    return f"{harm.subject[other]}, {_diagnosis(found, other)}, kept, {where}"


def _features(study, found, i, other) -> markup.Html:
    """The sample's features against the median of what the centre keeps."""
    del other
    harm = found.harm
    names, values = features(study, found)
    kept = (harm.verdict == "kept") & (harm.mask > 0)
    same = kept & (harm.centre == harm.centre[i])
    reference = values[same if same.any() else kept]
    where = f"median of {int(same.sum())} kept at its centre"
    if not same.any():
        where = "median of all kept samples"
    columns = [_compared(values[i, f], reference[:, f]) for f in range(len(names))]
    titles = ("this sample", where, "typical distance")
    rows = [
        [title, *cells] for title, cells in zip(titles, zip(*columns, strict=True), strict=True)
    ]
    return markup.table(["", *names], rows)


def _compared(value, reference) -> tuple:
    """Cells of one feature: its value, the reference's median, the median distance from that."""
    reference = reference[np.isfinite(reference)]
    middle = np.median(reference) if len(reference) else np.nan
    distance = np.median(np.abs(reference - middle)) if len(reference) else np.nan
    cells: list = [f"{x:.4g}" if np.isfinite(x) else "–" for x in (value, middle, distance)]
    if distance > 0 and abs(value - middle) > ODD * 1.4826 * distance:
        cells[0] = markup.element("span", cells[0], class_="odd")
    return tuple(cells)


def features(study, found) -> tuple[list[str], np.ndarray]:
    """Names [F] and values [N, F] of tabular data, in their own units where the study has them."""
    names, values = study.features, study.raw
    if values is None:
        values = np.asarray(study.train.image, np.float32)
        names = results.setting(found, "data.features", ())
    if len(names) != values.shape[1]:
        names = [f"column {f + 1}" for f in range(values.shape[1])]
    return list(names), np.asarray(values, np.float32)
