"""The templates of the pages."""

from __future__ import annotations

from functools import cache
from typing import Any


@cache
def page_template(name: str) -> Any:
    """A template that escapes every value, wherever it comes from, and refuses one that is missing."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("ctc_mm.counting.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":")}
    return environment.get_template(name)
