"""The command line of a count: its options, and what the run takes from them."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from ctc_mm.cli import CfgOptions
from ctc_mm.counting.records import ROLES, SlideSpec
from ctc_mm.counting.route import RouteSpec
from ctc_mm.counting.routes import check_name
from ctc_mm.formats.options import make_parser, positive_number, usage
from ctc_mm.formats.report import ConversionReport

EXAMPLE = """python tools/count.py day1/*.tif --route detect --config configs/lite/ssdlite_cbam_mobilenetv2_ctc.py \\
      --checkpoint work_dirs/ssdlite/best.pth --volume-ml 7.5 --out counts/day1
  python tools/count.py --slides day1.csv --route imfish --channels dapi=0,cep8=1,cd45=2 --workers 4 \\
      --out counts/day1"""
# Options that are settings of the route; those given are passed on, and it refuses what it does not take.
SETTINGS = (
    "config", "checkpoint", "model", "engine", "device", "batch_size", "threads", "tile_px", "window_px", "overlap_px",
    "max_cell_um", "rule", "doubt", "resample", "skip_background", "trust_checkpoint", "cfg_options",
)  # fmt: skip
FILES = ("config", "checkpoint", "model")
MEASURED = "measured"  # as ctc_mm.counting.patients, which takes long to import


def build_parser() -> argparse.ArgumentParser:
    """Define the command line."""
    parser = make_parser(
        "Count CTCs on slides: cells, count card and report of each, tables over all slides and patients. A run that "
        "was stopped goes on where it was when the same command is given again. Exit code 0: all slides counted whole; "
        "1: something failed, lacks parts or was stopped, or a file or setting is wrong (said at the end); 2: the "
        "command line cannot be understood.",
        EXAMPLE,
    )
    parser.add_argument("inputs", nargs="*", metavar="SLIDE", help="files, folders, 'patterns*.tif', tables of slides")
    parser.add_argument(
        "--route",
        type=usage(check_name),
        required=True,
        help="detect, classify, imfish, or package.module:Class of your own",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    _add_slides(parser.add_argument_group("slides (a table's values go before these)"))
    _add_model(parser.add_argument_group("model and route"))
    _add_results(parser.add_argument_group("results"))
    machines = parser.add_argument_group("machines")
    machines.add_argument("--workers", type=usage(_whole), default=0, metavar="N", help="processes of this machine")
    machines.add_argument("--scheduler", metavar="ADDRESS", help="of a Dask cluster, such as tcp://node1:8786")
    return parser


def _add_slides(group: argparse._ArgumentGroup) -> None:
    add, number = group.add_argument, usage(positive_number)
    add("--slides", type=Path, metavar="CSV", help="table: slide,name,patient,role,volume_ml,dilution,um_per_px,...")
    add("--channels", help="names and places (dapi=0,cep8=1) or file patterns (dapi=*_DAPI.tif,...)")
    add("--um-per-px", type=number, help="side of a pixel in um, in the place of what the files say")
    add("--patient", help="whose blood it is")
    add("--role", choices=ROLES, help="what the slides are (default: patient)")
    add("--volume-ml", type=number, help="volume of the sample on each slide, mL")
    add("--dilution", type=number, help="mL of sample that one mL of blood became (default: 1)")
    add("--spiked", type=float, metavar="N", help="number of cells added (role spike_in)")


def _add_model(group: argparse._ArgumentGroup) -> None:
    add, number, whole = group.add_argument, usage(positive_number), usage(_positive_whole)
    add("--config", help="config of the model, with --checkpoint")
    add("--checkpoint", help="its weights (.pth)")
    add("--model", help="instead: a model made by tools/export.py (.onnx, .xml)")
    add("--engine", help="torch, onnxruntime or openvino (default: by the model)")
    add("--device", help="cpu (default), cuda, cuda:1, ...")
    add("--resample", action="store_true", default=None, help="show slides of another pixel size at the model's")
    add("--rule", help="operating point of a classifier, such as youden (default)")
    add("--doubt", type=number, help="share of the threshold from which a candidate is shown as unidentified")
    add("--max-cell-um", type=number, help="largest cell; windows must overlap by more")
    add("--overlap-px", type=whole, help="overlap of windows")
    window_help = "side, or width and height, of what the network sees (default: as in its training)"
    add("--window-px", type=whole, nargs="+", metavar="PX", help=window_help)
    add("--all-tiles", dest="skip_background", action="store_false", default=None, help="skip no empty background")
    add("--tile-px", type=whole, help="side of what is read at once; changes no result")
    add("--batch-size", type=whole, help="windows or cells the model sees at once; changes no result but for rounding")
    add("--threads", type=whole, help="of reading and preparation; changes no result (the model's: OMP_NUM_THREADS)")
    add("--trust-checkpoint", action="store_true", default=None, help="load weights by pickle, which can run code")
    add("--cfg-options", nargs="+", action=CfgOptions, metavar="KEY=VALUE", help="change values of the config")
    add(
        "--settings",
        nargs="+",
        action=CfgOptions,
        default={},
        metavar="KEY=VALUE",
        help="other settings of the route, such as min_signals=3 cd45_threshold=400 (imfish)",
    )


def _add_results(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    recovery = "share of added cells that is found: 0.8, or 0.8,0.7,0.9 with its interval, or 'measured' by spike-ins"
    add("--recovery", type=usage(_recovery), help=f"{recovery}; concentrations are corrected by it")
    add("--performance", metavar="FILE", help="metrics.json of tools/test.py; the count is corrected by it")
    add("--table", choices=("csv", "parquet"), default="csv", help="of the detections (default: %(default)s)")
    add("--no-report", action="store_true", help="write no report.html")
    add("--gallery", type=usage(_whole), default=2000, metavar="N", help="most cells shown (default: %(default)s)")
    add("--no-cam", action="store_true", help="no Grad-CAM in the report")


def route_spec(args: argparse.Namespace) -> RouteSpec:
    """Take the route and its settings from parsed arguments; files by their absolute paths, for other processes."""
    given: dict[str, Any] = {name: getattr(args, name) for name in SETTINGS if getattr(args, name) is not None}
    given.update({name: str(Path(given[name]).absolute()) for name in FILES if name in given})
    return RouteSpec(args.route, {**given, **args.settings})


def slide_specs(args: argparse.Namespace, report: ConversionReport) -> list[SlideSpec]:
    """Find the slides that the arguments name."""
    from ctc_mm.counting.slide_list import find_slides

    names = ("channels", "um_per_px", "patient", "role", "volume_ml", "dilution", "spiked")
    known = {name: getattr(args, name) for name in names}
    return find_slides(args.inputs, table=args.slides, leave_out=args.out, report=report, **known)


def output_options(args: argparse.Namespace) -> Any:
    """Take what is written from parsed arguments, as ``OutputOptions``."""
    from ctc_mm.counting.outputs import OutputOptions
    from ctc_mm.counting.performance import read_performance
    from ctc_mm.counting.spike_in import known_recovery

    recovery = args.recovery
    return OutputOptions(
        table=args.table,
        report=not args.no_report,
        gallery=args.gallery,
        cam=not args.no_cam,
        recovery=known_recovery(recovery[0], recovery[1:] or None) if isinstance(recovery, tuple) else recovery,
        performance=None if args.performance is None else read_performance(args.performance, args.rule),
    )


def _whole(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError(f"must be 0 or more. Received: {text}")
    return value


def _positive_whole(text: str) -> int:
    if _whole(text) == 0:
        raise ValueError(f"must be above 0. Received: {text}")
    return int(text)


def _recovery(text: str) -> str | tuple[float, ...]:
    if text == MEASURED:
        return text
    numbers = tuple(float(part) for part in text.split(","))
    if len(numbers) not in (1, 3) or not all(math.isfinite(number) and number > 0 for number in numbers):
        raise ValueError(
            f"must be a share, a share with both ends of its interval, or {MEASURED!r}. Received: {text!r}"
        )
    return numbers
