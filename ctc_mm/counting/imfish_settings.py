"""Settings of the imFISH route."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from ctc_mm.counting.setting_checks import check_names, is_size
from ctc_mm.errors import ConfigError
from ctc_mm.imfish.first_pass import BLOCK_PX
from ctc_mm.imfish.settings import ImFISHSettings

# What a network beside the rule needs; taken by the engine.
MODEL_KEYS = (
    "config", "checkpoint", "model", "engine", "device", "batch_size", "window_px", "trust_checkpoint", "cfg_options",
)  # fmt: skip


@dataclass(frozen=True)
class ImFISHRouteSettings:
    """How nuclei are judged, and how the work is cut.

    Attributes:
        rule: of the imFISH rule.
        threshold_rule: by which validation chose the network's threshold.
        tile_px: side of a tile, rounded up to a multiple of 256 px; it changes no result. The default takes about
            600 MiB a thread; a fifth of the work is done twice at 2048 px, which takes a quarter of that.
        threads: tiles measured at once.
        model: settings of the engine of a network that gives each nucleus a score beside the rule's verdict; empty:
            the rule alone.
    """

    rule: ImFISHSettings = field(default_factory=ImFISHSettings)
    threshold_rule: str = "youden"
    tile_px: int = 4096
    threads: int = 2
    model: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ImFISHRouteSettings:
        """Read the settings of a ``RouteSpec``; None stands for what was not given.

        Keys are those of ``ImFISHSettings`` (``mode``, ``min_signals``, ``cd45_threshold`` ...), ``rule`` for the
        network's threshold, ``tile_px``, ``threads``, and those of ``EngineSettings``.

        Raises:
            ConfigError: an unknown setting, or one out of its range.
        """
        given = {name: value for name, value in values.items() if value is not None}
        of_rule = {one.name for one in fields(ImFISHSettings)}
        check_names("imfish", given, {*of_rule, "rule", "tile_px", "threads", *MODEL_KEYS})
        for name in ("tile_px", "threads"):
            value = given.get(name, 1)
            if not is_size(value):
                raise ConfigError(f"`{name}` must be a whole number above 0. Received: {value!r}")
        try:
            rule = ImFISHSettings(**{name: value for name, value in given.items() if name in of_rule})
        except ValueError as error:
            raise ConfigError(f"route imfish: {error}") from error
        has_model = any(given.get(name) for name in ("config", "checkpoint", "model"))
        return cls(
            rule=rule,
            threshold_rule=given.get("rule", cls.threshold_rule),
            tile_px=-(-given.get("tile_px", cls.tile_px) // BLOCK_PX) * BLOCK_PX,
            threads=given.get("threads", cls.threads),
            model={name: given[name] for name in MODEL_KEYS if name in given} if has_model else {},
        )
