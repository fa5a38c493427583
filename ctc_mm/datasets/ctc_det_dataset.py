"""Detection data sets in COCO JSON, with nothing dropped unseen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from mmdet.datasets import CocoDataset
from mmengine.logging import print_log

from ctc_mm.errors import AnnotationError, ConfigError, ImageReadError
from ctc_mm.formats.fields import JsonField, load_json_object
from ctc_mm.registry import DATASETS

# Keys of a COCO image that travel with it through the pipeline (design: files).
IMAGE_KEYS = ("group", "um_per_px", "channel", "white_level")


@DATASETS.register_module()
class CTCDetDataset(CocoDataset):
    """COCO JSON as the project's converters write it.

    On top of MMDetection's ``CocoDataset``: the file's category names must equal ``classes`` in order (the library
    takes labels in the file's order, whatever ``classes`` says); boxes that cannot be used are counted by reason in
    ``dropped`` and logged; images without cells stay in training; missing images are all reported before the first
    epoch; and ``um_per_px``, ``channel``, ``white_level`` and the size ``image_wh`` that all images have join
    ``metainfo``, which MMEngine stores in every checkpoint.

    ::

        train_dataset = dict(
            type='ctc_mm.CTCDetDataset', data_root='data/ctc', ann_file='train.json', data_prefix=dict(img='images'),
            metainfo=dict(classes=('CTC', 'WBC')),                           # class 0 is the CTC ...
            # metainfo=dict(classes=('Platelets', 'RBC', 'WBC'), target='WBC')  # ... or the data set says which
            pipeline=train_pipeline)

    Args:
        **kwargs: those of ``mmdet.CocoDataset``; ``filter_cfg`` defaults to ``dict(filter_empty_gt=False)``.

    Raises:
        AnnotationError: the annotation file is missing, is not COCO JSON, or holds other classes.
        ConfigError: ``metainfo['target']`` is no class, or there is none; the pipeline repeats a gamma or stretch that
            the crops already had.
        ImageReadError: images of the file are not on disk.
    """

    METAINFO: ClassVar[dict] = dict(classes=("CTC", "WBC"), palette=[(220, 20, 60), (60, 160, 220)])

    def __init__(self, *args: Any, filter_cfg: dict | None = None, **kwargs: Any) -> None:
        self.dropped: Counter[str] = Counter()
        super().__init__(*args, filter_cfg=dict(filter_empty_gt=False) if filter_cfg is None else filter_cfg, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Read the annotation file, check it and count what cannot be used."""
        root = self._read_annotation_file()
        self._check_classes([category.get("name").string() for category in root.get("categories").objects()])
        check_records(root)
        self._check_brightness(root)
        images = root.get("images").value
        self._metainfo.update(describe_images(images, self.ann_file), **_common_size(images))
        self.dropped.clear()
        data_list = super().load_data_list()
        self._check_images_exist(data_list)
        self._log_summary(data_list)
        return data_list

    def parse_data_info(self, raw_data_info: dict) -> dict:
        """Turn one image's records into a data info, counting the boxes that MMDetection would skip in silence."""
        image = raw_data_info["raw_img_info"]
        for annotation in raw_data_info["raw_ann_info"]:
            reason = reason_to_drop(annotation, image)
            if reason:
                self.dropped[reason] += 1
        data_info = super().parse_data_info(raw_data_info)
        data_info.update({key: image[key] for key in IMAGE_KEYS if key in image})
        return data_info

    def prepare_data(self, idx: int) -> Any:
        """Run the pipeline; in training, note in the sample how many cells its transforms left out."""
        data = super().prepare_data(idx)
        sample = data.get("data_samples") if isinstance(data, Mapping) else None
        if not self.test_mode and sample is not None and "gt_instances" in sample:
            cells = sum(not instance["ignore_flag"] for instance in self.get_data_info(idx)["instances"])
            kept = len(sample.gt_instances)
            sample.set_metainfo(dict(cells_before_transforms=cells, dropped_cells=cells - kept))
        return data

    def filter_data(self) -> list[dict]:
        """Filter as ``filter_cfg`` says, and say how many images that cost."""
        kept = super().filter_data()
        if len(kept) < len(self.data_list):
            self.dropped["image left out by filter_cfg"] = len(self.data_list) - len(kept)
            print_log(
                f"{self.ann_file}: filter_cfg={self.filter_cfg} leaves out "
                f"{len(self.data_list) - len(kept)} of {len(self.data_list)} images.",
                logger="current",
            )
        return kept

    def _read_annotation_file(self) -> JsonField:
        path = Path(self.ann_file)
        if not path.is_file():
            raise AnnotationError(
                f"{path}: no such annotation file. Make it with data_converters/labelme_to_coco.py or voc_to_coco.py, "
                "or set data_root on the command line (--cfg-options data_root=FOLDER)."
            )
        root = load_json_object(path)
        content = root.mapping()
        missing = [key for key in ("images", "annotations", "categories") if not isinstance(content.get(key), list)]
        if missing:
            raise AnnotationError(f"{path}: not COCO JSON, the lists {missing} are missing. Convert the labels again.")
        if not content["images"]:
            raise AnnotationError(
                f"{path}: it names no image. Convert the labels again; the report says what was kept."
            )
        return root

    def _check_classes(self, names: list[str]) -> None:
        classes = list(self.metainfo.get("classes") or [])
        if not classes:
            raise ConfigError("metainfo.classes is empty; name the classes in the order of the annotation file.")
        if names != classes:
            raise AnnotationError(
                f"{self.ann_file}: its categories are {names}, but the config's metainfo.classes are {classes}. "
                "They must be the same in the same order, since labels follow the file and names the config: "
                f"convert again with --classes {','.join(classes)}, or train with "
                f'--cfg-options classes="{tuple(names)}".'
            )
        target = self._metainfo.setdefault("target", classes[0])
        if target not in classes:
            raise ConfigError(f"metainfo.target={target!r} is not one of metainfo.classes={classes}.")

    def _check_brightness(self, root: JsonField) -> None:
        """Refuse to do in the pipeline again what was done to the raw images before they were cut."""
        info = root.value.get("info")
        crops = info.get("crops") if isinstance(info, Mapping) else None
        steps = [type(step).__name__ for step in self.pipeline.transforms]
        for key, step in (("gamma", "GammaTransform"), ("stretch", "HistogramStretch")):
            if isinstance(crops, Mapping) and crops.get(key) and step in steps:
                raise ConfigError(
                    f"{self.ann_file}: its crops were made with {key}={crops[key]}, and the pipeline applies {step} "
                    f"again. Cut them without --{key}, or take {step} out of the pipeline."
                )

    def _check_images_exist(self, data_list: list[dict]) -> None:
        missing = [info["img_path"] for info in data_list if not Path(info["img_path"]).is_file()]
        if missing:
            shown = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
            raise ImageReadError(
                f"{self.ann_file}: {len(missing)} of {len(data_list)} images are not on disk ({shown}). "
                "Set data_prefix.img to the folder that file_name is relative to."
            )

    def _log_summary(self, data_list: list[dict]) -> None:
        boxes = sum(len(info["instances"]) for info in data_list)
        blank = sum(not any(not i["ignore_flag"] for i in info["instances"]) for info in data_list)
        dropped = ", ".join(f"{count} {reason}" for reason, count in sorted(self.dropped.items())) or "none"
        print_log(
            f"{self.ann_file}: {len(data_list)} images ({blank} without cells), {boxes} boxes; dropped: {dropped}.",
            logger="current",
        )


def check_records(root: JsonField) -> None:
    """Refuse records that MMDetection would pass over in silence, or stumble over without naming them.

    Args:
        root: a COCO file with its three lists.

    Raises:
        AnnotationError: a key is missing or no number, or an annotation names no image or category of the file; the
            message names the record.
    """
    categories = {category.get("id").integer() for category in root.get("categories").objects()}
    images = set()
    for image in root.get("images").objects():
        image.get("file_name").string()
        for key in ("width", "height"):
            image.get(key).integer(minimum=1)
        images.add(image.get("id").integer())
    for annotation in root.get("annotations").objects():
        annotation.get("bbox").numbers(4)
        annotation.get("area").number()
        for key, known in (("image_id", images), ("category_id", categories)):
            if annotation.get(key).integer() not in known:
                raise annotation.error(
                    f"{key} {annotation.get(key).value} is not in the file's list; remove the annotation or complete it"
                )


def reason_to_drop(annotation: Mapping, image: Mapping) -> str | None:
    """Say why MMDetection's ``CocoDataset`` skips a box, None where it does not.

    Args:
        annotation: a COCO annotation, ``bbox`` as x, y, width, height in px.
        image: its COCO image, ``width`` and ``height`` in px.
    """
    if annotation.get("ignore", False):
        return "box marked `ignore`"
    x, y, width, height = annotation["bbox"]
    if width < 1 or height < 1 or annotation["area"] <= 0:
        return "box under 1 px"
    if min(x + width, image["width"]) <= max(x, 0) or min(y + height, image["height"]) <= max(y, 0):
        return "box outside the image"
    return None


def describe_images(images: list[dict], ann_file: str) -> dict:
    """Collect what the model has to remember of its images.

    Args:
        images: COCO images; ``um_per_px``, ``channel``, ``white_level`` where known.
        ann_file: named in the warning.

    Returns:
        Each key with the one value that all images share; ``um_per_px`` that differs by up to 10 % is averaged. A key
        whose values disagree is left out, with a warning.
    """
    found: dict[str, Any] = {}
    for key in ("um_per_px", "channel", "white_level"):
        values = sorted({image[key] for image in images if image.get(key) is not None})
        if len(values) == 1:
            found[key] = values[0]
        elif key == "um_per_px" and values and values[-1] <= 1.1 * values[0]:
            found[key] = round(sum(values) / len(values), 6)
        elif values:
            print_log(
                f"{ann_file}: images disagree on {key} ({values[0]} to {values[-1]}); the model will not "
                f"remember one. Convert them to one {key}, or train on each alone.",
                logger="current",
                level=30,
            )
    return found


def _common_size(images: list[dict]) -> dict[str, tuple[int, int]]:
    """``image_wh`` in px, where all images are of one size: what the model has to be shown of a slide."""
    sizes = {(image["width"], image["height"]) for image in images}
    return {"image_wh": sizes.pop()} if len(sizes) == 1 else {}
