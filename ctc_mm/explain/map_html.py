"""Maps as a page to look into: one file that asks nothing of the network."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import cv2
import numpy as np
from PIL import Image

from ctc_mm.explain.features_table import FeatureTable, MapPoint
from ctc_mm.explain.map_view import PALETTE, Panel, colours_of, drawing_order

# All thumbnails share one sheet of about this many pixels: 14,000 cells stay under 5 MB.
SHEET_PX = 8_400_000
# Sides are multiples of JPEG's blocks, so that no thumbnail shines into its neighbour.
BLOCK_PX, SMALLEST_THUMBNAIL_PX = 8, 16
JPEG_QUALITY = 82


def map_html(panels: Sequence[Panel], table: FeatureTable, title: str, notes: Sequence[str]) -> str:
    """Make the page: thumbnails on hover, categories and layers to choose, cells to select by click or lasso.

    Args:
        panels: one a layer, all of the table's samples.
        table: the samples.
        title: over all.
        notes: shown under it.

    Returns:
        HTML; names in it are escaped, wherever they come from.
    """
    side, columns, sheet = thumbnail_sheet(table.thumbnails)
    data = {
        "categories": [
            {"name": name, "count": count, "colour": colour}
            for (name, count), colour in zip(table.counts().items(), colours_of(table.categories), strict=True)
        ],
        "points": _columns(table.points),
        "order": drawing_order(table).tolist(),
        "layers": [_layer(panel) for panel in panels],
        "palette": list(PALETTE),
        "thumbnail": {"side": side, "columns": columns},
    }
    return _template().render(title=title, notes=list(notes), data=data, sheet=sheet)


def thumbnail_sheet(thumbnails: np.ndarray) -> tuple[int, int, str]:
    """All thumbnails on one JPEG, row by row.

    Args:
        thumbnails: uint8 (N, S, S, 3) RGB; made smaller where there are many.

    Returns:
        Side of a thumbnail in px, thumbnails a row, and the picture as a data URI ("" without thumbnails).
    """
    count = len(thumbnails)
    if not count:
        return 0, 1, ""
    fitting = int(math.sqrt(SHEET_PX / count)) // BLOCK_PX * BLOCK_PX
    side = max(SMALLEST_THUMBNAIL_PX, min(thumbnails.shape[1], fitting))
    columns = math.ceil(math.sqrt(count))
    sheet = np.zeros((math.ceil(count / columns) * side, columns * side, 3), np.uint8)
    for number, image in enumerate(thumbnails):
        top, left = number // columns * side, number % columns * side
        shrunk = image if side == image.shape[0] else cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
        sheet[top : top + side, left : left + side] = shrunk
    encoded = io.BytesIO()
    Image.fromarray(sheet).save(encoded, format="JPEG", quality=JPEG_QUALITY, subsampling=0)
    return side, columns, "data:image/jpeg;base64," + base64.b64encode(encoded.getvalue()).decode("ascii")


def _columns(points: Sequence[MapPoint]) -> dict[str, list[Any]]:
    """The samples column by column; texts that repeat (groups, files) as numbers into a list of them."""
    coded = {name: _coded([getattr(point, name) for point in points]) for name in ("channel", "group", "source")}
    return {
        "cell_id": [point.cell_id for point in points],
        "category": [point.category for point in points],
        "predicted": [point.predicted for point in points],
        "score": [None if point.score is None else round(point.score, 4) for point in points],
        "misjudged": [int(point.misjudged) for point in points],
        "copy": [point.copy_index for point in points],
        "path": [point.path for point in points],
        "box": [None if point.box_xyxy is None else [round(v, 1) for v in point.box_xyxy] for point in points],
        **coded,
    }


def _coded(values: Sequence[str]) -> dict[str, list[Any]]:
    names = sorted(set(values))
    place = {name: number for number, name in enumerate(names)}
    return {"names": names, "index": [place[value] for value in values]}


def _layer(panel: Panel) -> dict[str, Any]:
    layer = {"name": panel.name, "kl": round(panel.kl_divergence, 4), **_xy(panel.coordinates), "background": None}
    if panel.background is not None:
        layer["background"] = {**_xy(panel.background.coordinates), "category": panel.background.labels.tolist()}
    return layer


def _xy(coordinates: np.ndarray) -> dict[str, list[float]]:
    rounded = np.round(coordinates, 3)
    return {"x": rounded[:, 0].tolist(), "y": rounded[:, 1].tolist()}


@cache
def _template() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("ctc_mm.explain"), autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True
    )
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":")}
    return environment.get_template("map.html.j2")
