"""Turn counts that a person has corrected, in QuPath or a COCO editor, into labels to train on."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ctc_mm.cli import progress, run_cli
from ctc_mm.counting.exchange.corrections import CorrectionOptions, convert_corrections
from ctc_mm.counting.exchange.counted_slides import slides_of_counts, slides_of_folder
from ctc_mm.formats.coco import write_coco
from ctc_mm.formats.crop_set import IMAGES_FOLDER
from ctc_mm.formats.options import add_label_options, label_rules, make_parser, positive_number, usage
from ctc_mm.formats.report import ConversionReport


def build_parser() -> argparse.ArgumentParser:
    """Define the command line."""
    parser = make_parser(
        "Turn counts that a person has corrected, in QuPath (exported as GeoJSON) or a COCO editor, into COCO labels "
        "to train on. The report says what was added, removed, relabelled and moved. With --cut the labels are of "
        "windows cut from the slides, written to images beside FILE.json: networks train on fields, not on slides. "
        "Cells left unidentified become ignore regions.",
        "python data_converters/corrections_to_coco.py corrected/*.geojson --count counts/day1 --cut 320 "
        "--out data/corrected/train.json",
    )
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="corrected .geojson or COCO .json")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.json", help="COCO file to write")
    parser.add_argument(
        "--count", type=Path, nargs="+", default=[], metavar="DIR", help="what tools/count.py wrote for these slides"
    )
    parser.add_argument(
        "--images", type=Path, metavar="DIR", help="folder of the slides, where they have moved or were never counted"
    )
    parser.add_argument("--um-per-px", type=usage(positive_number), help="pixel size of slides that were never counted")
    parser.add_argument("--cut", type=int, metavar="PX", help="cut windows of this side: what the network sees")
    parser.add_argument(
        "--blanks", type=float, default=1.0, metavar="N", help="windows without cells per window with (default: 1)"
    )
    parser.add_argument("--channel", help="channel to cut (default: the only one, colour, or the model's)")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same windows (default: %(default)s)")
    add_label_options(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> ConversionReport:
    """Convert as the arguments say; print and return the report."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if not args.count and args.images is None:
        parser.error("give --count DIR (the results of tools/count.py) or --images DIR (the slides)")
    if args.out.resolve() in [file.resolve() for file in args.files]:
        parser.error(f"--out {args.out} would overwrite a corrected file; give another name")
    try:
        options = CorrectionOptions(label_rules(args), args.cut, args.blanks, args.channel, args.seed)
    except ValueError as error:
        parser.error(str(error))
    slides = slides_of_counts(args.count, args.images) if args.count else slides_of_folder(args.images, args.um_per_px)
    labelled, report = convert_corrections(args.files, slides, args.out.parent, options, progress)
    write_coco(args.out, labelled)
    where = f" (images in {args.out.parent / IMAGES_FOLDER})" if args.cut else ""
    print(f"{report}\nwritten: {args.out}{where}")
    return report


if __name__ == "__main__":
    sys.exit(run_cli(main))
