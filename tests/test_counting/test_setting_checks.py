"""What all routes refuse in the same words."""

import math

import pytest

from ctc_mm.counting.setting_checks import check_names, is_number, is_size
from ctc_mm.errors import ConfigError


@pytest.mark.parametrize(
    ("value", "number", "size"),
    [(1, True, True), (0, True, False), (-2.5, True, False), (2.0, True, False), (True, False, False),
     (math.nan, False, False), (math.inf, False, False), ("1", False, False), (None, False, False)],
)  # fmt: skip
def test_numbers_and_sizes(value, number, size):
    assert (is_number(value), is_size(value)) == (number, size)


def test_unknown_settings_are_named_with_those_that_are_known():
    check_names("detect", {}, ())
    check_names("detect", {"a": 1, "rule": None}, {"a", "b"})
    with pytest.raises(ConfigError, match="route detect takes no setting c, rule; it takes a, b"):
        check_names("detect", {"a": 1, "rule": 2, "c": 0}, {"b", "a"})
