"""Maps of what a model's layers hold, while it trains and after it is tested."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmengine.runner import Runner, TestLoop, ValLoop
from torch import nn

from ctc_mm.engine.hooks.export_hook import ExportHook, operating_point_of
from ctc_mm.explain.tsne import NothingToMapError, TSNEOptions
from ctc_mm.explain.tsne_run import FeatureOptions, map_dataset
from ctc_mm.registry import HOOKS


@HOOKS.register_module()
class TSNEHook(ExportHook):
    """Map a model's features by t-SNE after validations and after the test (paper 2.6.3, Figure 8; reading 13).

    Writes ``tsne.png``, ``tsne.html`` (thumbnails on hover), ``tsne.csv``, ``metrics.json`` (KL divergence, neighbours
    kept, silhouette) and ``map.npz`` (for ``tools/tsne.py --map``) to ``<out_dir>/epoch_<n>/`` and ``<out_dir>/test/``.
    Classifiers are mapped cell by cell, detectors by the boxes that they find, as hits or false positives. Runs on the
    main process only, over the data of the loop just done; the model, wrapped or not, and all random numbers are left
    as they were. Where there is nothing to map (a detector that finds no box yet) the log says so.

    Example::

        custom_hooks = [dict(type='ctc_mm.TSNEHook', interval=10, layers=('input', 'conv5', 'conv7', 'last_fc'))]

    Args:
        interval: epochs between two maps; an epoch without validation has none. The test is always mapped.
        layers: names, see :mod:`ctc_mm.explain.features`; by default those of the paper for classifiers, the neck for
            detectors.
        pooling: of maps: ``mean`` over space, or ``flatten``.
        max_samples: more samples are reduced by chance, each class by its share; None: all.
        out_dir: where to; default ``<work_dir>/<timestamp>/tsne``.
        seed: of that choice and of t-SNE.
        **options: of :class:`ctc_mm.explain.tsne.TSNEOptions`: ``perplexity``, ``learning_rate``, ``method``, ...

    Raises:
        ValueError: an option out of range.
    """

    default_folder = "tsne"

    def __init__(
        self,
        interval: int = 10,
        layers: Sequence[str] | None = None,
        pooling: str = "mean",
        max_samples: int | None = 2000,
        out_dir: str | None = None,
        seed: int = 0,
        **options: float | str,
    ) -> None:
        super().__init__(interval, out_dir)
        self.features = FeatureOptions(None if layers is None else tuple(layers), pooling, max_samples, seed)
        self.options = TSNEOptions(seed=seed, **options)

    def export(self, runner: Runner, model: nn.Module, loop: ValLoop | TestLoop, out_dir: Path) -> None:
        """Map the loop's data."""
        try:
            files = map_dataset(
                model,
                loop.dataloader.dataset,
                out_dir,
                self.features,
                self.options,
                title=f"{runner.experiment_name}, {out_dir.name.replace('_', ' ')}",
                operating_point=operating_point_of(loop),
            )
        except NothingToMapError as error:
            # A picture that cannot be drawn is no reason to end a training.
            runner.logger.warning(f"no map for {out_dir.name}: {error}")
            return
        for line in files.lines():
            runner.logger.info(line)
