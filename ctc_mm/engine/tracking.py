"""TensorBoard and MLflow beside the log of a training: chosen by config, or by ``tools/train.py --track``."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.visualization import MLflowVisBackend

from ctc_mm.errors import ConfigError, InstallationError
from ctc_mm.registry import VISBACKENDS

# As in configs/_base_/tracking/, for configs that inherit them.
TRACKERS = {
    "tensorboard": dict(type="TensorboardVisBackend"),
    "mlflow": dict(type="ctc_mm.MLflowBackend", exp_name="ctc_mm"),
}
PACKAGES = {"TensorboardVisBackend": "tensorboard", "MLflowVisBackend": "mlflow", "MLflowBackend": "mlflow"}
STORE_FOLDER = "mlruns"
ALLOW_FILE_STORE = "MLFLOW_ALLOW_FILE_STORE"


@VISBACKENDS.register_module()
class MLflowBackend(MLflowVisBackend):
    """MMEngine's MLflow backend with a store that trainings share, and runs named after their work dir.

    Config, scalars by step, and at the end log and JSON files go to ``tracking_uri``, else to ``MLFLOW_TRACKING_URI``,
    else to the folder ``mlruns`` beside the work dir (MMEngine makes a store in each run's own folder, copies it into
    itself, and overrules the variable).

    Args:
        save_dir: ``<work_dir>/<timestamp>/vis_data``, given by the Runner.
        exp_name: experiment that the runs belong to.
        run_name: name of the run; None: the work dir's.
        tracking_uri: server or store.
        **kwargs: those of ``mmengine.visualization.MLflowVisBackend``.
    """

    def __init__(
        self,
        save_dir: str,
        exp_name: str = "ctc_mm",
        run_name: str | None = None,
        tracking_uri: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(save_dir, exp_name=exp_name, run_name=run_name, **kwargs)
        self._given_uri = tracking_uri

    def _init_env(self) -> None:
        work_dir = Path(self._save_dir).resolve().parents[1]
        self._run_name = self._run_name or work_dir.name
        uri = self._given_uri or os.environ.get("MLFLOW_TRACKING_URI")
        if uri is None:
            # MLflow 3 keeps its file store for those who ask for it; it needs no database and no server.
            os.environ.setdefault(ALLOW_FILE_STORE, "true")
            uri = (work_dir.parent / STORE_FOLDER).as_uri()
        self._tracking_uri = uri
        super()._init_env()

    def add_scalar(self, name: str, value: Any, step: int = 0, **kwargs: Any) -> None:
        """Record one number under a name that MLflow takes."""
        super().add_scalar(mlflow_name(name), value, step, **kwargs)

    def add_scalars(
        self, scalar_dict: Mapping[str, Any], step: int = 0, file_path: str | None = None, **kwargs: Any
    ) -> None:
        """Record several numbers; MLflow refuses all of them for one name that it does not take."""
        renamed = {mlflow_name(name): value for name, value in scalar_dict.items()}
        super().add_scalars(renamed, step, file_path, **kwargs)


def mlflow_name(name: str) -> str:
    """The name of a value as MLflow takes it: ``ctc/F1@youden`` becomes ``ctc/F1_at_youden``."""
    return re.sub(r"[^\w\-. :/]", "_", name.replace("@", "_at_"), flags=re.ASCII)


def add_trackers(config: Config, names: Sequence[str]) -> None:
    """Let ``config`` report to the named trackers, beside those it has.

    Args:
        config: changed in place.
        names: of ``tensorboard`` and ``mlflow``.

    Raises:
        ConfigError: another name.
    """
    if names and config.get("visualizer") is None:
        config.visualizer = dict(type="Visualizer", vis_backends=[dict(type="LocalVisBackend")])
    visualizer = config.get("visualizer")
    for name in names:
        if name not in TRACKERS:
            raise ConfigError(f"no tracker {name!r}; there are {', '.join(TRACKERS)}")
        backends = list(visualizer.get("vis_backends") or [])
        if _kind(TRACKERS[name]) not in map(_kind, backends):
            visualizer.vis_backends = [*backends, dict(TRACKERS[name])]


def check_trackers(config: Config) -> None:
    """Refuse a config whose trackers are not installed, before the data are read.

    Raises:
        InstallationError: a package is missing; the message has the pip command.
    """
    for backend in (config.get("visualizer") or {}).get("vis_backends") or []:
        package = PACKAGES.get(_kind(backend))
        if package is not None and importlib.util.find_spec(package) is None:
            raise InstallationError(
                f"{_kind(backend)} needs the package {package}, which is not installed: pip install 'ctc_mm[tracking]' "
                f"(or pip install {package}), or train without it"
            )


def without_trackers(config: Config) -> None:
    """Keep the log files alone: a test, or a validation on the way to it, is no training to compare."""
    visualizer = config.get("visualizer")
    if visualizer:
        visualizer.vis_backends = [one for one in visualizer.get("vis_backends") or [] if _kind(one) not in PACKAGES]


def _kind(backend: Any) -> str:
    kind = backend.get("type")
    return str(getattr(kind, "__name__", kind)).rpartition(".")[2]
