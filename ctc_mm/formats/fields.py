"""JSON from outside, one value at a time: every wrong value is an error that names file, place and cure."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from ctc_mm.errors import AnnotationError


class JsonField:
    """A value in a JSON file that knows where it stands, such as ``a.json: shapes[3].points``.

    Args:
        value: the parsed JSON value.
        file: path of the file, for errors.
        keys: keys and indices that lead to the value; empty for the whole file.
    """

    def __init__(self, value: Any, file: str, keys: str = "") -> None:
        self.value = value
        self.file = file
        self.keys = keys

    @property
    def place(self) -> str:
        """File and path of keys, as errors begin."""
        return f"{self.file}: {self.keys}" if self.keys else self.file

    def error(self, rule: str) -> AnnotationError:
        """Make an error that begins with the value's place."""
        return AnnotationError(f"{self.place}: {rule}")

    def mapping(self) -> dict[str, Any]:
        """Give the value if it is an object."""
        if not isinstance(self.value, dict):
            raise self._wrong("an object {...}")
        return self.value

    def has(self, key: str) -> bool:
        """Say whether the object holds ``key`` with a value other than null."""
        return self.mapping().get(key) is not None

    def get(self, key: str) -> JsonField:
        """Give the value under ``key``; a missing key is an error."""
        if key not in self.mapping():
            cure = "add it, or remove this entry" if self.keys else "is it the right kind of file?"
            raise self.error(f"lacks the key {key!r}; {cure}")
        return JsonField(self.mapping()[key], self.file, f"{self.keys}.{key}" if self.keys else key)

    def items(self) -> list[JsonField]:
        """Give the elements of a list."""
        if not isinstance(self.value, list):
            raise self._wrong("a list [...]")
        return [JsonField(value, self.file, f"{self.keys}[{index}]") for index, value in enumerate(self.value)]

    def objects(self) -> list[JsonField]:
        """Give the elements of a list of objects."""
        fields = self.items()
        for field in fields:
            field.mapping()
        return fields

    def string(self) -> str:
        """Give the value if it is text with at least one visible character."""
        if not isinstance(self.value, str) or not self.value.strip():
            raise self._wrong("text that is not empty")
        return self.value

    def name(self) -> str:
        """Give text, or a whole number as text."""
        return self.string() if isinstance(self.value, str) else str(self.integer())

    def number(self, positive: bool = False) -> float | int:
        """Give the value if it is a finite number (above 0 with ``positive``); true and false are none."""
        if isinstance(self.value, bool) or not isinstance(self.value, int | float) or not _is_finite(self.value):
            raise self._wrong("a finite number")
        if positive and self.value <= 0:
            raise self._wrong("a number above 0")
        return self.value

    def integer(self, minimum: int | None = None) -> int:
        """Give the value if it is a whole number (640.0 is one), at least ``minimum``."""
        number = self.number()
        if number != int(number) or (minimum is not None and number < minimum):
            raise self._wrong("a whole number" + ("" if minimum is None else f" of at least {minimum}"))
        return int(number)

    def numbers(self, count: int | None = None) -> list[float]:
        """Give a list of finite numbers, exactly ``count`` of them where that is given."""
        values = [float(field.number()) for field in self.items()]
        if count is not None and len(values) != count:
            raise self._wrong(f"a list of {count} numbers")
        return values

    def _wrong(self, expected: str) -> AnnotationError:
        shown = repr(self.value)
        return self.error(f"must be {expected}. Received: {shown if len(shown) <= 80 else shown[:77] + '...'}")


def load_json_object(path: Path) -> JsonField:
    """Read a JSON file that holds one object.

    Raises:
        AnnotationError: as ``load_json``, or it is no object.
    """
    field = load_json(path)
    field.mapping()
    return field


def load_json(path: Path) -> JsonField:
    """Read a JSON file.

    Raises:
        AnnotationError: the file is missing, not UTF-8, truncated, names a key twice or holds NaN.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise AnnotationError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{path}: not UTF-8 text (byte {error.start}); save the file as UTF-8") from error
    try:
        content = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique_keys)
        if "\\ud" in text.lower():
            _require_whole_characters(content)
    except json.JSONDecodeError as error:
        raise AnnotationError(
            f"{path}: not complete JSON (line {error.lineno}, column {error.colno}: {error.msg}); "
            "restore the file from a copy or save it again in the tool that wrote it"
        ) from error
    except RecursionError as error:
        raise AnnotationError(f"{path}: nested too deeply to be a label file") from error
    except ValueError as error:
        raise AnnotationError(f"{path}: {error}") from error
    return JsonField(content, str(path))


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the range of float
        return False


def _refuse_constant(name: str) -> None:
    raise ValueError(f"holds {name}, which is no JSON number; correct the coordinate")


def _require_whole_characters(content: Any) -> None:
    """Refuse one half of a surrogate pair, which no file can hold as UTF-8."""
    try:
        json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"holds half a character ({error.object[error.start]!r}); correct this text") from error


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        raise ValueError(f"names the key {twice[0]!r} twice in one object; keep one")
    return content
