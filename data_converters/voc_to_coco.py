"""Convert Pascal VOC XML files to COCO JSON."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from ctc_mm.cli import progress, run_cli
from ctc_mm.formats.coco import write_coco
from ctc_mm.formats.options import add_label_options, add_set_options, label_rules, make_parser, set_options
from ctc_mm.formats.report import ConversionReport
from ctc_mm.formats.voc import convert_voc


def main(argv: Sequence[str] | None = None) -> ConversionReport:
    """Convert as the arguments say; print and return the report."""
    parser = make_parser(
        "Convert Pascal VOC XML files to COCO JSON. Without --labels and --classes a set keeps its own class names, "
        "sorted over all of XML_DIR, so that all splits agree.",
        "python data_converters/voc_to_coco.py bccd/Annotations --images bccd/JPEGImages "
        "--split bccd/ImageSets/Main/train.txt --out data/bccd/train.json",
    )
    parser.add_argument("xml_dir", type=Path, metavar="XML_DIR", help="folder of the XML files")
    parser.add_argument("--images", type=Path, required=True, metavar="DIR", help="folder of the images")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.json", help="COCO file to write")
    parser.add_argument("--split", type=Path, metavar="FILE.txt", help="names to convert (default: every XML file)")
    add_label_options(parser)
    add_set_options(parser)
    args = parser.parse_args(argv)

    rules = label_rules(args, own_names=args.labels is None)
    labelled, report = convert_voc(args.xml_dir, args.images, rules, set_options(args), args.split, progress)
    write_coco(args.out, labelled)
    print(f"{report}\nwritten: {args.out}")
    return report


if __name__ == "__main__":
    sys.exit(run_cli(main))
