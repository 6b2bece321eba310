"""HTML in pieces: whatever is not Html already is escaped, so that no name or path can break the page."""

import base64
import html
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from ser_tune.figures import save

_NUMERIC = re.compile(r"-|[\d.,]+%?( ± [\d.]+)?")


class Html(str):
    """Text that is HTML already and is not escaped again."""

    __slots__ = ()


def element(name: str, *children: object, **attributes: str) -> Html:
    """`<name attributes>children</name>`; a trailing underscore of an attribute's name goes (`class_`)."""
    given = "".join(f' {key.rstrip("_")}="{html.escape(value)}"' for key, value in attributes.items())
    return Html(f"<{name}{given}>{join(*children)}</{name}>")


def join(*children: object) -> Html:
    """The children one after the other, escaped where they are not Html."""
    return Html("".join(child if isinstance(child, Html) else html.escape(str(child)) for child in children))


def paragraph(*children: object) -> Html:
    """A paragraph."""
    return element("p", *children)


def bullets(items: Iterable[object]) -> Html:
    """A list, an entry per item; nothing for no items."""
    entries = [element("li", item) for item in items]
    return element("ul", *entries) if entries else Html()


def note(*children: object) -> Html:
    """A paragraph that nobody shall miss."""
    return element("p", *children, class_="note")


def code(text: str) -> Html:
    """Text to be typed or copied, as it stands."""
    return element("pre", element("code", text))


def section(heading: str, *children: object) -> Html:
    """A part of the page under its heading."""
    return element("section", element("h2", heading), *children)


def details(summary: str, *children: object) -> Html:
    """What is shown when its summary is clicked."""
    return element("details", element("summary", summary), *children)


def table(header: Sequence[str], rows: Iterable[Sequence[object]], marked: int = -1) -> Html:
    """A table that scrolls by itself where the page is narrow; the row number `marked` stands out.

    A row's first cell heads it; columns of numbers are aligned to the right.
    """
    cells = [[str(cell) for cell in row] for row in rows]
    numeric = [index > 0 and all(_NUMERIC.fullmatch(row[index]) for row in cells) for index in range(len(header))]
    kinds = [{"class_": "number"} if is_numeric else {} for is_numeric in numeric]
    titles = [element("th", name, scope="col", **kind) for name, kind in zip(header, kinds, strict=True)]
    body = []
    for index, row in enumerate(cells):
        values = [element("td", value, **kind) for value, kind in zip(row[1:], kinds[1:], strict=True)]
        mark = {"class_": "marked"} if index == marked else {}
        body.append(element("tr", element("th", row[0], scope="row"), *values, **mark))
    whole = element("table", element("thead", element("tr", *titles)), element("tbody", *body))
    return element("div", whole, class_="scroll", tabindex="0")


def picture(folder: Path, name: str, figure: Figure, alt: str, caption: str = "") -> Html:
    """The figure, saved as `folder`/`name`.png and carried within the page."""
    png = save(figure, folder / f"{re.sub('[^A-Za-z0-9_.,=+-]', '_', name)}.png")
    source = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    image = Html(f'<img src="{source}" alt="{html.escape(alt)}">')
    return element("figure", image, element("figcaption", caption) if caption else Html())


def percent(share: float | None) -> str:
    """A share [0..1] as people read it; a hyphen where there is none."""
    return "-" if share is None or math.isnan(share) else f"{share:.1%}"


def page(title: str, *children: object) -> str:
    """A whole document that needs nothing but itself."""
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    head = join(
        Html('<meta charset="utf-8">'),
        Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        element("title", title),
        element("style", Html(style)),
    )
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body>{element("main", *children)}</body></html>\n'
