"""Finds and labels for a person to decide on, in QuPath or a COCO editor."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from ctc_mm.counting.exchange.geojson import write_geojson
from ctc_mm.counting.records import UNIDENTIFIED, AnalysedArea, CountedCell, SlideCount, SlideSpec, in_order
from ctc_mm.engine.label_cleaning.problems import boxes_by_image, boxes_xyxy
from ctc_mm.engine.label_cleaning.run import CleaningReport, cleaned_content
from ctc_mm.formats.fields import load_json_object
from ctc_mm.formats.files import write_json
from ctc_mm.imaging.field_list import FieldSource

COCO_FILE = "finds.json"
LABELLED, FOUND = "labelled", "found_without_label"


def write_review(folder: str | Path, report: CleaningReport) -> list[Path]:
    """Write labels and finds of each image as GeoJSON, and the finds of all as COCO.

    In QuPath (drag the file onto the image) finds carry the flag ``found_without_label`` and their score, and ignore
    regions are ``unidentified``. What a person deletes, adds or moves there comes back by
    ``data_converters/corrections_to_coco.py FOLDER/*.geojson --images DIR``: all images, those without finds too.

    Args:
        folder: made if it is not there.
        report: of :func:`ctc_mm.engine.label_cleaning.run.clean_labels`.

    Returns:
        The GeoJSON files, by image.
    """
    folder, content = Path(folder), load_json_object(report.labels).value
    of_image = boxes_by_image(content)
    names = {one["id"]: one["name"] for one in content["categories"]}
    finds = {image["file_name"]: [] for image in content["images"]}
    for find in report.finds:
        finds[find.file_name].append(CountedCell(find.box_xyxy, find.class_name, find.score, flags=(FOUND,)))
    removed, written = {one.annotation_id for one in report.problems if one.is_removed}, []
    for image in sorted(content["images"], key=lambda image: image["file_name"]):
        labels = [one for one in of_image[image["id"]] if one["id"] not in removed]
        width, height = image["width"], image["height"]
        boxes = boxes_xyxy(labels).clip(0, [width, height, width, height])
        cells = [
            CountedCell(
                tuple(box), UNIDENTIFIED if one.get("iscrowd") else names[one["category_id"]], flags=(LABELLED,)
            )
            for box, one in zip(boxes.tolist(), labels, strict=True)
        ]
        name = PurePosixPath(image["file_name"]).with_suffix("").as_posix()
        count = _as_count(
            name, image, report.images_dir, (*names.values(), UNIDENTIFIED), cells + finds[image["file_name"]]
        )
        written.append(write_geojson(folder / f"{name}.geojson", count))
    write_json(folder / COCO_FILE, _finds_alone(content, report))
    return written


def _as_count(
    name: str, image: dict[str, Any], images_dir: Path, classes: tuple[str, ...], cells: list[CountedCell]
) -> SlideCount:
    """An image with its cells in the form that the GeoJSON writer takes."""
    source = FieldSource(name, image["file_name"], {"": images_dir / image["file_name"]})
    size_wh = image["width"], image["height"]
    return SlideCount(
        spec=SlideSpec(name, source),
        size_wh=size_wh,
        um_per_px=image.get("um_per_px"),
        um_per_px_source="file" if image.get("um_per_px") else "unknown",
        channels=(),
        route="detect",
        definition="labels, and what trained models find beside them",
        target=classes[0],
        classes=classes,
        cells=in_order(cells),
        thresholds={},
        settings={},
        model=None,
        area=AnalysedArea(size_wh[0] * size_wh[1]),
    )


def _finds_alone(content: dict[str, Any], report: CleaningReport) -> dict[str, Any]:
    """COCO content of the finds as cells, with the images that have any."""
    last = max((one["id"] for one in content["annotations"]), default=0)
    found = [dict(one, iscrowd=0) for one in cleaned_content(content, report)["annotations"] if one["id"] > last]
    of_image = {one["image_id"] for one in found}
    images = [image for image in content["images"] if image["id"] in of_image]
    return {"info": {}, "categories": content["categories"], "images": images, "annotations": found}
