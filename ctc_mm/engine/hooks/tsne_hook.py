"""Maps of what a model's layers hold, while it trains and after it is tested."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner, TestLoop, ValLoop

from ctc_mm.engine.hooks.grad_cam_hook import operating_point_of
from ctc_mm.explain.tsne import NothingToMapError, TSNEOptions
from ctc_mm.explain.tsne_run import FeatureOptions, map_dataset
from ctc_mm.registry import HOOKS


@HOOKS.register_module()
class TSNEHook(Hook):
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

    # Before EMAHook (NORMAL) puts the training weights back: the map must show the weights that were validated.
    priority = "ABOVE_NORMAL"

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
        if isinstance(interval, bool) or not isinstance(interval, int) or interval < 1:
            raise ValueError(f"TSNEHook: `interval` must be a whole number of at least 1; received {interval!r}")
        self.interval = interval
        self.out_dir = out_dir
        self.features = FeatureOptions(None if layers is None else tuple(layers), pooling, max_samples, seed)
        self.options = TSNEOptions(seed=seed, **options)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Map after the validation of every ``interval``-th epoch."""
        if runner.epoch % self.interval == 0:
            self._export(runner, runner.val_loop, f"epoch_{runner.epoch}")

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Map after the test."""
        self._export(runner, runner.test_loop, "test")

    def _export(self, runner: Runner, loop: ValLoop | TestLoop, folder: str) -> None:
        if not is_main_process():
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        out_dir = Path(self.out_dir or Path(runner.log_dir) / "tsne") / folder
        try:
            files = map_dataset(
                model,
                loop.dataloader.dataset,
                out_dir,
                self.features,
                self.options,
                title=f"{runner.experiment_name}, {folder.replace('_', ' ')}",
                operating_point=operating_point_of(loop),
            )
        except NothingToMapError as error:
            # A picture that cannot be drawn is no reason to end a training.
            runner.logger.warning(f"no map for {folder}: {error}")
            return
        for line in files.lines():
            runner.logger.info(line)
