"""Checks that the necks share: which levels exist, and whether what arrives is what the config says."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ctc_mm.errors import ConfigError


def check_levels(neck: str, levels: Sequence[int], num_levels: int) -> tuple[int, ...]:
    """Return ``levels`` as a tuple, each in [0, num_levels).

    Raises:
        ConfigError: a level does not exist.
    """
    wrong = [level for level in levels if not 0 <= level < num_levels]
    if wrong:
        raise ConfigError(
            f"{neck}: levels={list(levels)}, but in_channels names {num_levels} levels (0 to {num_levels - 1}); "
            f"{wrong} do not exist."
        )
    return tuple(levels)


def check_inputs(neck: str, features: Sequence[Tensor], in_channels: Sequence[int]) -> None:
    """Compare the channels of what arrives with the config's ``in_channels``.

    Raises:
        ConfigError: another number of levels, or other channels.
    """
    received = [feature.shape[1] for feature in features]
    if received != list(in_channels):
        raise ConfigError(
            f"{neck}: in_channels={list(in_channels)} in the config, but levels of {received} channels arrive; "
            "set in_channels to the out_channels of the part before it."
        )
