"""The benchmark's numbers as one small picture: imFISH networks with intervals, DEPArray arms seed by seed."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from classification_plan import DEPARRAY_ARMS, IMFISH_FOLDED, IMFISH_HELD_OUT
from classification_tables import deparray_values, imfish_pools

from ctc_mm.formats.files import atomic_write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ARM_NAMES = {
    "brightfield": "bright field",
    "dapi": "+ DAPI,\nas many steps",
    "dapi_twice": "+ DAPI,\nas many epochs",
    "distilled": "distilled",
}


def draw_numbers(runs: Path, out: Path) -> None:
    """Write the picture of the finished runs as PNG; the same runs give the same bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.4), dpi=100, layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_imfish(left, runs)
    _draw_deparray(right, runs)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})
    atomic_write_bytes(out, buffer.getvalue())


def _draw_imfish(axes: Axes, runs: Path) -> None:
    nets = [net for net in (*IMFISH_FOLDED, *IMFISH_HELD_OUT) if imfish_pools(runs, net)]
    for shift, place, colour in ((-0.12, "5 folds", "tab:blue"), (0.12, "kept aside", "tab:orange")):
        pools = {index: imfish_pools(runs, net).get(place) for index, net in enumerate(nets)}
        for index, pool in pools.items():
            if pool is not None:
                low, high = pool["AUC"]["interval"]
                axes.plot([index + shift] * 2, [low, high], color=colour)
                axes.plot(index + shift, pool["AUC"]["value"], "o", color=colour)
        axes.plot([], [], "o-", color=colour, label=place)
    axes.set_xticks(range(len(nets)), nets)
    axes.set(title="imFISH phantom, from scratch, 64 px", ylabel="AUC, 95 % by patient")
    axes.grid(axis="y", alpha=0.3)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=2, fontsize="small")


def _draw_deparray(axes: Axes, runs: Path) -> None:
    arms = {arm: values for arm in DEPARRAY_ARMS if (values := deparray_values(runs, arm, "AUC"))}
    for seed in sorted({seed for values in arms.values() for seed in values}):
        places = [index for index, values in enumerate(arms.values()) if seed in values]
        axes.plot(places, [list(arms.values())[index][seed] for index in places], "o-", label=f"seed {seed}")
    axes.set_xticks(range(len(arms)), [ARM_NAMES[arm] for arm in arms])
    axes.set(title="DEPArray phantom, tested on bright field", ylabel="AUC on test patients")
    axes.grid(axis="y", alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize="small")
