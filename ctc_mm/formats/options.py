"""Options that the converters share, each defined once."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable
from typing import TypeVar

from ctc_mm.formats.assemble import SetOptions
from ctc_mm.formats.labels import LabelRules, parse_classes, parse_label_map

T = TypeVar("T")


def make_parser(description: str, example: str) -> argparse.ArgumentParser:
    """Make a parser whose ``--help`` ends with an example."""
    return argparse.ArgumentParser(
        description=description,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def add_label_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--labels``, ``--classes`` and ``--skip-unknown``."""
    parser.add_argument(
        "--labels",
        type=usage(parse_label_map),
        metavar="FROM=TO,...",
        help="classes of your labels, beside the built-in ones (ctc, CTCs, tumor, ... = CTC; wbc, leukocyte, ... = "
        "WBC); a label mapped to __ignore__ becomes an ignore region",
    )
    parser.add_argument(
        "--classes",
        type=usage(parse_classes),
        metavar="A,B,...",
        help="the classes in order (default: CTC,WBC, or those --labels names); CTC alone: a one-class set",
    )
    parser.add_argument(
        "--skip-unknown", action="store_true", help="leave out objects with an unknown label, counted (default: error)"
    )


def add_set_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--um-per-px``, ``--channel``, ``--white-level`` and ``--group-pattern``."""
    parser.add_argument(
        "--um-per-px", type=usage(positive_number), help="micrometres per pixel, stored with each image"
    )
    parser.add_argument("--channel", help="name of the channel (bright-field, DAPI, ...), stored with each image")
    parser.add_argument(
        "--white-level",
        type=usage(positive_number),
        help="pixel value that is white in 16-bit images (default: the smallest of 255, 1023, 4095, 16383, 65535 that "
        "holds all pixels of the set); give the same for training and test sets that are converted apart",
    )
    parser.add_argument(
        "--group-pattern",
        type=usage(group_pattern),
        metavar="REGEX",
        help="finds slide or patient in each file name, by its first pair of brackets, such as '(P[0-9]+)_'; a split "
        "never tears a group apart (default: each image is a group of its own)",
    )


def label_rules(args: argparse.Namespace, own_names: bool = False) -> LabelRules:
    """Take the rules from parsed arguments."""
    return LabelRules(args.labels, args.classes, args.skip_unknown, own_names)


def set_options(args: argparse.Namespace) -> SetOptions:
    """Take the options of a set from parsed arguments."""
    return SetOptions(args.um_per_px, args.channel, args.white_level, args.group_pattern)


def usage(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Turn the ValueError of ``parse`` into argparse's usage error (exit code 2), keeping its message."""

    def parse_argument(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parse_argument


def positive_number(text: str) -> float:
    """Read a finite number above 0.

    Raises:
        ValueError: it is none.
    """
    try:
        value = float(text)
    except ValueError as error:
        cure = f" with a point: {text.replace(',', '.')}" if re.fullmatch(r"\d+,\d+", text) else ""
        raise ValueError(f"must be a number{cure}. Received: {text}") from error
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"must be a finite number above 0. Received: {text}")
    return value


def group_pattern(text: str) -> str:
    """Check a regular expression with a pair of brackets.

    Raises:
        ValueError: it is none.
    """
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise ValueError(f"is no regular expression ({error}). Received: {text!r}") from error
    if pattern.groups < 1:
        raise ValueError(f"needs a pair of brackets around the name of slide or patient. Received: {text!r}")
    return text
