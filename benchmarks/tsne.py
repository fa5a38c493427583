"""Speed and quality of t-SNE maps: ctc_mm by openTSNE and scikit-learn, and both libraries by themselves.

Two sets of planted clusters: as many nuclei as the imFISH paper has (694 CTC and 13,472 others) with 512 features, and
5,000 samples with 50. All contestants run in turn in every round, and the shortest time counts. Processor seconds (all
threads together) say how much work it is, also where other programs have their share of the cores. The divergence is
always the exact one of `ctc_mm.explain.tsne_affinities`, from one P.

example: python benchmarks/tsne.py --rounds 3 --jobs 2 --out tsne.json
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from common import in_turn, markdown_table

from ctc_mm.cli import progress, run_cli
from ctc_mm.explain.tsne import TSNEOptions, embed_tsne, fit_projection
from ctc_mm.explain.tsne_affinities import joint_probabilities, kl_divergence, nearest_neighbours
from ctc_mm.explain.tsne_maps import map_quality
from ctc_mm.formats.files import write_json

OURS = {"ctc_mm, openTSNE": "opentsne", "ctc_mm, scikit-learn": "sklearn"}
PERPLEXITY = 30.0


@dataclass(frozen=True)
class Task:
    """A set to map. ``counts``: samples a class; ``contestants``: who maps it."""

    name: str
    counts: tuple[int, ...]
    length: int
    contestants: tuple[str, ...]


TASKS = (
    Task("14,166 x 512", (694, 13_472), 512, ("ctc_mm, openTSNE", "openTSNE alone")),
    Task("5,000 x 50", (2500, 2500), 50, (*OURS, "openTSNE alone", "scikit-learn alone")),
)


@dataclass(frozen=True)
class Outcome:
    """Seconds of each round by the clock and of the processor, and the exact divergence of the last round's map."""

    task: str
    contestant: str
    seconds: tuple[float, ...]
    processor_s: tuple[float, ...]
    kl_divergence: float

    @property
    def shortest_s(self) -> float:
        """The round that other programs disturbed least."""
        return min(self.seconds)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="rounds over all contestants (default 3)")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="threads (default 2)")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the samples, to try it out (default 1)")
    parser.add_argument("--seed", type=int, default=0, help="of the data and the maps (default 0)")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="write all numbers there too")
    args = parser.parse_args(argv)
    if args.rounds < 1 or args.jobs < 1 or not 0.02 <= args.scale <= 1:
        parser.error("--rounds and --jobs start at 1, --scale lies between 0.02 and 1")
    return args


def planted(task: Task, scale: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Four overlapping kinds of cells in each class: float32 (N, length), and labels."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(task.counts)), [max(4, int(count * scale)) for count in task.counts])
    centres = random.normal(0, 0.6, (len(task.counts), 4, task.length))
    kinds = random.integers(0, 4, len(labels))
    return (centres[labels, kinds] + random.normal(0, 1, (len(labels), task.length))).astype(np.float32), labels


def contestants(jobs: int, seed: int) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """By name: from features to coordinates. The libraries have their defaults, but the same number of iterations."""
    from openTSNE import TSNE as OpenTSNE
    from sklearn.manifold import TSNE as SklearnTSNE

    def ours(method: str) -> Callable[[np.ndarray], np.ndarray]:
        options = TSNEOptions(method=method, perplexity=PERPLEXITY, seed=seed, jobs=jobs)
        return lambda features: embed_tsne(features, options).coordinates

    common = dict(perplexity=PERPLEXITY, random_state=seed, n_jobs=jobs)
    return {
        **{name: ours(method) for name, method in OURS.items()},
        "openTSNE alone": lambda features: np.asarray(OpenTSNE(**common).fit(features)),
        "scikit-learn alone": lambda features: SklearnTSNE(max_iter=750, **common).fit_transform(features),
    }


def measure(task: Task, args: argparse.Namespace) -> tuple[list[Outcome], float]:
    """Outcomes of one task, and the seconds that the figures of its map take."""
    features, labels = planted(task, args.scale, args.seed)
    run = contestants(args.jobs, args.seed)
    seconds: dict[str, list[float]] = {name: [] for name in task.contestants}
    processor_s: dict[str, list[float]] = {name: [] for name in task.contestants}
    maps: dict[str, np.ndarray] = {}
    for round_index in progress(range(args.rounds), task.name):
        for name in in_turn(task.contestants, round_index):
            begun, worked = time.perf_counter(), time.process_time()
            maps[name] = run[name](features)
            seconds[name].append(time.perf_counter() - begun)
            processor_s[name].append(time.process_time() - worked)
    reduced = fit_projection(features.astype(np.float64), 50, args.seed)(features)
    neighbours = min(len(reduced) - 1, int(3 * PERPLEXITY))
    joint = joint_probabilities(*nearest_neighbours(reduced, neighbours), min(PERPLEXITY, neighbours / 3))
    outcomes = [
        Outcome(task.name, name, tuple(seconds[name]), tuple(processor_s[name]), kl_divergence(joint, maps[name]))
        for name in task.contestants
    ]
    tsne = embed_tsne(features, TSNEOptions(perplexity=PERPLEXITY, iterations=250, jobs=args.jobs))
    begun = time.perf_counter()
    map_quality(tsne, labels, ("CTC", "other"))
    return outcomes, time.perf_counter() - begun


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print a table."""
    args = parse_args(argv)
    outcomes: list[Outcome] = []
    figures: dict[str, float] = {}
    for task in TASKS:
        measured, figures[task.name] = measure(task, args)
        outcomes += measured
    rows = [
        (one.task, one.contestant, f"{one.shortest_s:.1f}", f"{min(one.processor_s):.1f}", f"{one.kl_divergence:.3f}")
        for one in outcomes
    ]
    print(markdown_table(("samples x features", "by", "seconds", "processor seconds", "KL divergence"), rows))
    for name, seconds in figures.items():
        print(f"figures of the map (neighbours kept, trustworthiness, silhouettes), {name}: {seconds:.1f} s")
    if args.out:
        host = {"cores": os.cpu_count(), "jobs": args.jobs, "machine": platform.machine()}
        host["load_average_at_end"] = [round(load, 2) for load in os.getloadavg()]
        results = [asdict(one) for one in outcomes]
        write_json(args.out, {"machine": host, "scale": args.scale, "outcomes": results, "figures_s": figures})


if __name__ == "__main__":
    sys.exit(run_cli(main))
