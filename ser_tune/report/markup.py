"""HTML in pieces: whatever is not Html already is escaped, so that no name or path can break the page."""

import base64
import html
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from ser_tune.figures import save
from ser_tune.figures.canvas import DPI

_NUMBER = r"[-+]?[\d.,]+"
_NUMERIC = re.compile(rf"-|{_NUMBER}%?( ± {_NUMBER}| to {_NUMBER}| \[{_NUMBER}, {_NUMBER}\])?")


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


@dataclass(frozen=True)
class Wide:
    """A cell of words that takes several columns."""

    text: str
    n_columns: int


def table(header: Sequence[str], rows: Iterable[Sequence[object]], marked: int = -1, broad: bool = False) -> Html:
    """A table that scrolls by itself where the page is narrow; the row number `marked` stands out.

    A row's first cell heads it; columns of numbers are aligned to the right. A `broad` table is wider than the text
    where the screen is.
    """
    cells = [[cell if isinstance(cell, Wide) else str(cell) for cell in row] for row in rows]
    kinds = _column_classes(cells, len(header))
    titles = [element("th", name, scope="col", **kind) for name, kind in zip(header, kinds, strict=True)]
    body = []
    for index, row in enumerate(cells):
        mark = {"class_": "marked"} if index == marked else {}
        body.append(element("tr", element("th", row[0], scope="row"), *_row_cells(row[1:], kinds[1:]), **mark))
    whole = element("table", element("thead", element("tr", *titles)), element("tbody", *body))
    return element("div", whole, class_="scroll broad" if broad else "scroll", tabindex="0")


def _column_classes(rows: Sequence[Sequence[str | Wide]], n_columns: int) -> list[dict[str, str]]:
    """The class of columns that hold numbers alone, but for wide cells."""
    flat = [[cell for cell in row for _ in range(cell.n_columns if isinstance(cell, Wide) else 1)] for row in rows]
    columns = [[row[index] for row in flat] for index in range(n_columns)]
    texts = [[cell for cell in column if isinstance(cell, str)] for column in columns]
    numeric = [index > 0 and all(map(_NUMERIC.fullmatch, column)) for index, column in enumerate(texts)]
    return [{"class_": "number"} if is_numeric else {} for is_numeric in numeric]


def _row_cells(row: Sequence[str | Wide], kinds: Sequence[dict[str, str]]) -> list[Html]:
    cells, column = [], 0
    for cell in row:
        if isinstance(cell, Wide):
            cells.append(element("td", cell.text, colspan=str(cell.n_columns), class_="words"))
            column += cell.n_columns
        else:
            cells.append(element("td", cell, **kinds[column]))
            column += 1
    return cells


def picture(folder: Path, name: str, figure: Figure, alt: str, caption: str = "", dpi: int = DPI) -> Html:
    """The figure, saved as `folder`/`name`.png and carried within the page."""
    png = save(figure, folder / f"{name}.png", dpi)
    source = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    image = Html(f'<img src="{source}" alt="{html.escape(alt)}">')
    return element("figure", image, element("figcaption", caption) if caption else Html())


def count(n: int, thing: str) -> str:
    """A number and what it counts, in the plural where it is not one."""
    return f"{n} {thing}{'s' * (n != 1)}"


def percent(share: float | None) -> str:
    """A share [0..1] as people read it; a hyphen where there is none."""
    return "-" if share is None or math.isnan(share) else f"{share:.1%}"


def interval(low: float, high: float) -> str:
    """The 95% interval of a score, of which none lies below 0 or above 1; a hyphen where there is none."""
    return "-" if math.isnan(low) else f"{100 * max(0.0, low):.1f} to {100 * min(1.0, high):.1f}"


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
