"""The picture of the idea for the README: one model, many hospitals, a mask over their samples.

    python docs/travelling.py docs/travelling.svg

Drawn by hand in SVG; it brings its own ground, so that it reads on light and on dark pages.
"""

import math
import pathlib
import sys

from harmjax.report import markup, style

WIDTH, HEIGHT = 960, 560
HUB, REACH = (288, 222), (212, 150)  # of the tour, pixels
CARD, DOT = (122, 74), 12.5  # of a hospital, and between its samples
BATCH, PENDING, GONE = "batch", "pending", "gone"
# Name, number of samples, and what happened to some of them.
HOSPITALS = (
    ("A", 14, {5: GONE}),
    ("B", 9, {}),
    ("C", 18, {6: BATCH, 7: BATCH, 8: BATCH, 9: BATCH, 10: BATCH, 13: PENDING}),
    ("D", 1, {}),
    ("E", 7, {2: GONE, 4: PENDING}),
    ("F", 5, {}),
)
STEPS = (  # colour, name, two lines
    ("travelled", "Visit", "The model trains on a few scans,\nwhere they are."),
    (
        "delivered",
        "Verify",
        "Every hospital counts errors on its\nheld-out scans. Four integers leave.",
    ),
    (
        "eliminated",
        "Roll back",
        "Errors rose too far: undo the step,\nthen try its scans one at a time.",
    ),
    (
        "pending",
        "Revisit",
        "A scan that was harmful alone waits,\nand is tried again two cycles later.",
    ),
    ("eliminated", "Eliminate", "Harmful again: it leaves the mask.\nNobody had to look at it."),
)


def picture() -> markup.Html:
    """The whole picture as a stand-alone SVG document."""
    about = (
        "A model travels round six hospitals and trains on a few scans at each. All hospitals "
        "verify every step; harmful steps are rolled back, suspects revisited, and samples that "
        "stay harmful eliminated from a mask over all training samples."
    )
    return markup.element(
        "svg",
        markup.element("title", "The travelling model under quality control"),
        markup.element("style", markup.Html(_sheet())),
        _rect(0.5, 0.5, WIDTH - 1, HEIGHT - 1, 14, "ground edge"),
        _spokes(),
        _tour(),
        [_hospital(i) for i in range(len(HOSPITALS))],
        _traveller(),
        _server(),
        _steps(),
        _mask(),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=about,
    )


def write(path) -> pathlib.Path:
    """Writes the picture and returns its path."""
    path = pathlib.Path(path)
    path.write_text(picture().text + "\n", encoding="utf-8")
    return path


def _sheet() -> str:
    """Colours as classes, not variables: not every SVG viewer knows those."""
    sheets = []
    for shade in (0, 1):
        colour = {name: pair[shade] for name, pair in style.PALETTE.items()}
        rules = [f".{name}{{fill:{value}}}" for name, value in colour.items()]
        rules += [f".to-{name}{{stroke:{value};fill:none}}" for name, value in colour.items()]
        rules.append(f".edge{{stroke:{colour['line']}}}")
        rules.append(f".card{{fill:{colour['panel']};stroke:{colour['line']}}}")
        sheets.append("".join(rules))
    light, dark = sheets
    return (
        "text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,Arial,sans-serif;"
        f"font-size:13px}}.b{{font-weight:600}}.s{{font-size:11.5px}}{light}"
        f"@media(prefers-color-scheme:dark){{{dark}}}"
    )


def _at(turn: float) -> tuple[float, float]:
    """A point of the tour; one turn is a cycle, clockwise from the top."""
    angle = 2 * math.pi * turn - math.pi / 2
    return HUB[0] + REACH[0] * math.cos(angle), HUB[1] + REACH[1] * math.sin(angle)


def _spokes() -> list:
    """What leaves the hospitals at a verification: counts, to the server."""
    lines = []
    for i in range(len(HOSPITALS)):
        x, y = _at(i / len(HOSPITALS))
        lines.append(_line(x, y, *HUB, "to-delivered", stroke_dasharray="2 5", opacity=0.75))
    return lines


def _tour() -> list:
    """The way from hospital to hospital, with an arrow head half-way."""
    ring = markup.element("ellipse", cx=HUB[0], cy=HUB[1], rx=REACH[0], ry=REACH[1],
                          class_="to-travelled", stroke_width=2, opacity=0.55)  # fmt: skip
    heads = []
    for i in range(len(HOSPITALS)):
        turn = (i + 0.5) / len(HOSPITALS)
        (x, y), (u, v) = _at(turn), _at(turn + 0.01)
        angle = math.degrees(math.atan2(v - y, u - x))
        heads.append(
            markup.element(
                "path",
                d="M-5-5L5 0L-5 5Z",
                class_="travelled",
                transform=f"translate({x:.1f} {y:.1f}) rotate({angle:.1f})",
            )  # fmt: skip
        )
    return [ring, heads]


def _hospital(i) -> markup.Html:
    name, count, state = HOSPITALS[i]
    x, y = _at(i / len(HOSPITALS))
    x, y = x - CARD[0] / 2, y - CARD[1] / 2
    scans = "1 scan" if count == 1 else f"{count} scans"
    parts = [
        _rect(x, y, *CARD, 9, "card"),
        _house(x + 11, y + 9),
        _text(x + 32, y + 21, name, "ink b"),
        _text(x + CARD[0] - 10, y + 21, scans, "muted s", "end"),
    ]
    for k in range(count):
        parts.append(_sample(x + 16 + k % 8 * DOT, y + 37 + k // 8 * DOT, state.get(k)))
    return markup.element("g", parts)


def _house(x, y) -> markup.Html:
    """A hospital: a building with a cross."""
    body = f"M{x:.1f} {y:.1f}h14v14h-14z"
    cross = f"M{x + 7:.1f} {y + 3.2:.1f}v7.6M{x + 3.2:.1f} {y + 7:.1f}h7.6"
    return markup.join(
        markup.element("path", d=body, class_="delivered"),
        markup.element("path", d=cross, stroke="#fff", stroke_width=2),
    )


def _sample(x, y, state, size=4.0) -> markup.Html:
    """A training sample as the mask sees it: in, waiting or out."""
    if state == GONE:
        d = f"M{x - 3.6:.1f} {y - 3.6:.1f}l7.2 7.2m0-7.2l-7.2 7.2"
        return markup.element("path", d=d, class_="to-eliminated", stroke_width=2.6)
    if state == PENDING:
        d = f"M{x:.1f} {y - 4.8:.1f}l4.8 8.8h-9.6z"
        return markup.element("path", d=d, class_="pending")
    dot = markup.element("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=size, class_="kept")
    if state != BATCH:
        return dot
    ring = markup.element("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=size, class_="travelled")
    return ring


def _traveller() -> list:
    """The model on its way out of hospital C, with a fading trail behind it."""
    stop = 2 / len(HOSPITALS)
    x, y = _at(stop)
    x, y = x + CARD[0] / 2 - 2, y + CARD[1] / 2 - 4
    nodes = [(-7, -5), (-7, 5), (0, -8), (0, 0), (0, 8), (8, 0)]
    wires = [(a, b) for a in (0, 1) for b in (2, 3, 4)] + [(b, 5) for b in (2, 3, 4)]
    lines = [(*nodes[a], *nodes[b]) for a, b in wires]
    net = [_line(x + a, y + b, x + c, y + d, None, stroke="#fff", stroke_width=0.9, opacity=0.85)
           for a, b, c, d in lines]  # fmt: skip
    dots = [markup.element("circle", cx=f"{x + u:.1f}", cy=f"{y + v:.1f}", r=2.1, fill="#fff")
            for u, v in nodes]  # fmt: skip
    halo = [markup.element("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=r, class_="travelled",
                           opacity=o) for r, o in ((27, 0.14), (22, 0.25), (17, 1))]  # fmt: skip
    return [halo, net, dots]


def _server() -> list:
    x, y = HUB
    return [
        _rect(x - 72, y - 33, 144, 66, 33, "card"),
        _text(x, y - 8, "server", "ink b", "middle"),
        _text(x, y + 8, "adds up TP FP TN FN,", "muted s", "middle"),
        _text(x, y + 22, "sees no scan", "muted s", "middle"),
    ]


def _steps() -> list:
    """What happens at a stop, in words, down the right side."""
    parts, left = [], 618
    for i, (colour, title, words) in enumerate(STEPS):
        y = 48 + 76 * i
        if i + 1 < len(STEPS):
            parts.append(_line(left, y + 16, left, y + 60, "to-line", stroke_width=2))
        parts.append(markup.element("circle", cx=left, cy=y, r=14, class_=colour))
        parts.append(_text(left, y + 4.5, str(i + 1), "ground b", "middle"))
        parts.append(_text(left + 28, y - 2, title, "ink b"))
        parts += [
            _text(left + 28, y + 16 + 16 * k, line, "muted")
            for k, line in enumerate(words.split("\n"))
        ]
    return parts


def _mask() -> list:
    """The mask over all samples, hospital by hospital, and what comes of it."""
    top, pitch, gap = 452, 12.4, 9
    parts = [_line(28, top - 22, WIDTH - 28, top - 22, "to-line")]
    parts.append(_text(34, top + 24, "mask", "ink b"))
    x = 86.0
    for name, count, state in HOSPITALS:
        start = x
        for k in range(count):
            inside = state.get(k) not in (PENDING, GONE)
            if inside:
                parts.append(_rect(x, top + 8, pitch - 2, 22, 2, "kept"))
            else:
                parts.append(_rect(x, top + 8, pitch - 2, 22, 2, "to-line"))
                parts.append(_sample(x + pitch / 2 - 1, top + 19, state[k]))
            x += pitch
        parts.append(_text((start + x - 2) / 2, top + 46, name, "muted s", "middle"))
        x += gap
    arrow = f"M{x + 2:.1f} {top + 19}h26m-6-5l7 5l-7 5"
    parts.append(markup.element("path", d=arrow, class_="to-delivered", stroke_width=2))
    parts.append(_text(x + 40, top + 16, "train again", "ink b"))
    parts.append(_text(x + 40, top + 32, "on what is left", "muted s"))
    return [*parts, _legend(top + 82)]


def _legend(y) -> list:
    entries = ((None, "trained on"), (BATCH, "at this stop"), (PENDING, "pending"),
               (GONE, "eliminated"))  # fmt: skip
    parts, x = [], 90
    for state, words in entries:
        parts.append(_sample(x, y - 4, state))
        parts.append(_text(x + 11, y, words, "muted s"))
        x += 98
    parts.append(_text(WIDTH - 34, y, "mask in, model out", "muted s", "end"))
    return parts


def _rect(x, y, width, height, radius, class_) -> markup.Html:
    return markup.element("rect", x=f"{x:.4g}", y=f"{y:.4g}", width=f"{width:.4g}",
                          height=f"{height:.4g}", rx=radius, class_=class_)  # fmt: skip


def _line(x, y, u, v, class_, **attributes) -> markup.Html:
    return markup.element("path", d=f"M{x:.1f} {y:.1f}L{u:.1f} {v:.1f}", class_=class_,
                          **attributes)  # fmt: skip


def _text(x, y, words, class_, anchor=None) -> markup.Html:
    return markup.element("text", words, x=f"{x:.4g}", y=f"{y:.4g}", class_=class_,
                          text_anchor=anchor)  # fmt: skip


if __name__ == "__main__":
    print(write(sys.argv[1]))
