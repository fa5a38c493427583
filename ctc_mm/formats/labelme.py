"""Labelme JSON (versions 4 to 6): a reader that trusts nothing in the file.

Labelme's coordinates are continuous pixels, x right, y down, on the image after its EXIF orientation was applied.
"""

from __future__ import annotations

import base64
import binascii
import math
from dataclasses import dataclass
from pathlib import Path

from ctc_mm.errors import AnnotationError
from ctc_mm.formats.assemble import Acquisition
from ctc_mm.formats.fields import JsonField, load_json_object
from ctc_mm.structures import BoxXYXY, PolygonXY

# Points each kind of shape has: least and most.
POINT_COUNTS: dict[str, tuple[int, float]] = {
    "rectangle": (2, 2),
    "polygon": (3, math.inf),
    "circle": (2, 2),
    "points": (1, math.inf),
    "mask": (2, 2),
    "oriented_rectangle": (4, 4),
    "point": (1, 1),
    "line": (2, 2),
    "linestrip": (1, math.inf),
}
WITHOUT_AREA = ("line", "linestrip", "point")


@dataclass(frozen=True)
class LabelmeShape:
    """One shape: its place (file and index), label, points in pixels, kind, and the group that makes parts one object.

    Attributes:
        shape_type: a key of ``POINT_COUNTS``, or another word that this reader does not know.
        group_id: shapes of one group are one object; None: an object of its own.
    """

    place: str
    label: str
    points_xy: PolygonXY
    shape_type: str
    group_id: int | str | None

    @property
    def box_xyxy(self) -> BoxXYXY:
        """The shape's half-open bounding box in pixels."""
        xs, ys = zip(*self.points_xy, strict=True)
        if self.shape_type == "circle":
            (x, y), rim = self.points_xy
            radius = math.dist((x, y), rim)
            return x - radius, y - radius, x + radius, y + radius
        # The corners of a mask are its first and last pixel, not edges.
        last_pixel = 1 if self.shape_type == "mask" else 0
        return min(xs), min(ys), max(xs) + last_pixel, max(ys) + last_pixel

    @property
    def polygon_xy(self) -> PolygonXY | None:
        """The outline in pixels, for the kinds that have one beyond their box."""
        return self.points_xy if self.shape_type in ("polygon", "oriented_rectangle") else None


@dataclass(frozen=True)
class LabelmeFile:
    """One Labelme file.

    Attributes:
        path: the file.
        image_path: the image as written, relative to the file's folder.
        size_wh: size of the image that was labelled, where the file says so.
        has_embedded: an 8-bit copy of the image is inside.
        flags: names of the image's flags that are set.
        shapes: the shapes in order.
        known: ``um_per_px``, ``channel``, ``white_level`` and ``group``, which other programs may add to the file
            (Labelme keeps keys that it does not know).
    """

    path: Path
    image_path: str
    size_wh: tuple[int, int] | None
    has_embedded: bool
    flags: tuple[str, ...]
    shapes: tuple[LabelmeShape, ...]
    known: Acquisition = Acquisition()


def read_labelme(path: str | Path) -> LabelmeFile:
    """Read one Labelme file.

    Raises:
        AnnotationError: the file is missing, truncated, not UTF-8, no Labelme file, or has a shape whose label, points,
            type or group is not what Labelme writes; the message names file and shape.
    """
    path = Path(path)
    root = load_json_object(path)
    for key in ("shapes", "imagePath"):
        if key not in root.mapping():
            raise AnnotationError(
                f"{path}: lacks the key {key!r}, so it is no Labelme file; keep other JSON files in another folder"
            )
    has_embedded = root.has("imageData")
    if has_embedded:
        root.get("imageData").string()
    return LabelmeFile(
        path=path,
        image_path=root.get("imagePath").string(),
        size_wh=_read_size(root),
        has_embedded=has_embedded,
        flags=_read_flags(root),
        shapes=tuple(_read_shape(shape) for shape in root.get("shapes").objects()),
        known=Acquisition(
            um_per_px=root.get("um_per_px").number(positive=True) if root.has("um_per_px") else None,
            channel=root.get("channel").string() if root.has("channel") else None,
            white_level=root.get("white_level").number(positive=True) if root.has("white_level") else None,
            group=root.get("group").name() if root.has("group") else None,
        ),
    )


def read_embedded_image(path: str | Path) -> tuple[bytes, str]:
    """Take the image that Labelme embeds (an 8-bit copy) out of a file.

    Returns:
        The bytes as they are, and their suffix, ``.png`` or ``.jpg``.

    Raises:
        AnnotationError: the file cannot be read, or what it embeds is no PNG or JPEG image.
    """
    field = load_json_object(Path(path)).get("imageData")
    try:
        data = base64.b64decode(field.string(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise field.error(f"is no base64 text ({error}); give the original image file") from error
    for signature, suffix in ((b"\x89PNG\r\n\x1a\n", ".png"), (b"\xff\xd8\xff", ".jpg")):
        if data.startswith(signature):
            return data, suffix
    raise field.error("is neither PNG nor JPEG; give the original image file")


def _read_size(root: JsonField) -> tuple[int, int] | None:
    if not root.has("imageWidth") and not root.has("imageHeight"):
        return None
    return root.get("imageWidth").integer(minimum=1), root.get("imageHeight").integer(minimum=1)


def _read_flags(root: JsonField) -> tuple[str, ...]:
    if not root.has("flags"):
        return ()
    return tuple(sorted(name for name, value in root.get("flags").mapping().items() if value is True))


def _read_shape(shape: JsonField) -> LabelmeShape:
    # Labelme up to 3 wrote no type: all shapes were polygons.
    shape_type = shape.get("shape_type").string() if shape.has("shape_type") else "polygon"
    points = shape.get("points")
    points_xy = tuple((x, y) for x, y in (point.numbers(2) for point in points.items()))
    least, most = POINT_COUNTS.get(shape_type, (1, math.inf))
    if not least <= len(points_xy) <= most:
        wanted = f"{least}" if least == most else f"at least {least}"
        raise points.error(
            f"a {shape_type} has {wanted} points. Received: {len(points_xy)}; draw the shape again or remove it"
        )
    return LabelmeShape(shape.place, shape.get("label").string().strip(), points_xy, shape_type, _read_group(shape))


def _read_group(shape: JsonField) -> int | str | None:
    if not shape.has("group_id"):
        return None
    group = shape.get("group_id")
    return group.string() if isinstance(group.value, str) else group.integer()
