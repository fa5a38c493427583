"""Count CTCs on slides: see ``ctc_mm/counting/options.py`` for the command line."""

import signal
import sys
from collections.abc import Sequence

from ctc_mm.cli import EXIT_FAILED, run_cli
from ctc_mm.counting.options import build_parser, output_options, route_spec, slide_specs
from ctc_mm.cpu import tune_cpu
from ctc_mm.formats.report import ConversionReport


def main(argv: Sequence[str] | None = None) -> None:
    """Find the slides, count them, say how each ended."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if not args.inputs and args.slides is None:
        parser.error("no slide is given; name files, folders, patterns such as 'day1/*.tif', or a table (--slides)")
    if args.workers and args.scheduler:
        parser.error(
            f"--workers {args.workers} starts processes here, --scheduler {args.scheduler} uses others: give one"
        )
    tune_cpu()  # before torch
    from ctc_mm.counting.progress import ConsoleProgress
    from ctc_mm.counting.run import count_slides

    found = ConversionReport()
    slides = slide_specs(args, found)
    with ConsoleProgress() as progress:
        for reason, places in found.skipped.items():
            progress.tell(f"not a slide: {reason}: {len(places)} ({'; '.join(places[:5])})")
        try:
            result = count_slides(
                slides,
                route_spec(args),
                args.out,
                workers=args.workers,
                scheduler=args.scheduler,
                outputs=output_options(args),
                progress=progress,
            )
        except KeyboardInterrupt:
            progress.tell(f"stopped: finished slides are whole in {args.out}; the same command goes on from there")
            raise SystemExit(EXIT_FAILED) from None
    for line in result.lines():
        print(line)
    if not result.is_complete:
        raise SystemExit(EXIT_FAILED)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: SLURM sends it when the time is up
    sys.exit(run_cli(main))
