"""HTML that is safe by construction: every string is escaped unless it is already `Html`."""

import html
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

VOID = ("meta", "img", "br", "hr")


class Html(NamedTuple):
    """Markup that is inserted as it is."""

    text: str


def element(name: str, /, *children, **attributes) -> Html:
    """One element with its children.

    Args:
        name: Of the element, also of an SVG element.
        children: `Html` is inserted as it is, other iterables are flattened, the rest is escaped.
        attributes: Underscores become hyphens and a trailing one is dropped (`class_`); None
            leaves an attribute out.

    Example:
        >>> element("p", "1 < 2", class_="note").text
        '<p class="note">1 &lt; 2</p>'
    """
    inside = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in VOID:
        return Html(f"<{name}{inside}>")
    return Html(f"<{name}{inside}>{join(*children).text}</{name}>")


def join(*children) -> Html:
    """Children one after the other, escaped where they are plain text."""
    return Html("".join(map(_text, children)))


def table(header: Sequence, rows: Iterable[Iterable], *, class_=None) -> Html:
    """A table that scrolls sideways where it is too wide; columns of numbers go to the right.

    A column counts as numeric if no cell of it holds a letter beyond a unit or sign.
    """
    cells = [list(row) for row in rows]
    numeric = [all(_is_number(row[i]) for row in cells) for i in range(len(header))]
    kinds = ["number" if right else None for right in numeric]
    head = [element("th", cell, class_=kind) for cell, kind in zip(header, kinds, strict=True)]
    body = [
        element("tr", [element("td", c, class_=k) for c, k in zip(row, kinds, strict=True)])
        for row in cells
    ]
    inner = element(
        "table", element("thead", element("tr", head)), element("tbody", body), class_=class_
    )
    return element("div", inner, class_="scroll", tabindex="0")


def document(title: str, style: str, *children) -> Html:
    """A whole page. The browser is told to load nothing from anywhere."""
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", Html(style)),
    )
    page = element("html", head, element("body", element("main", *children)), lang="en-GB")
    return Html("<!DOCTYPE html>\n" + page.text + "\n")


def _text(child) -> str:
    if child is None:
        return ""
    if isinstance(child, Html):
        return child.text
    if isinstance(child, str):
        return html.escape(child)
    if isinstance(child, Iterable):
        return join(*child).text
    return html.escape(str(child))


def _is_number(cell) -> bool:
    text = re.sub(r"<[^>]*>", "", cell.text) if isinstance(cell, Html) else str(cell).strip()
    return not text or text == "–" or text.rstrip("%").lstrip("+-−")[:1].isdigit()
