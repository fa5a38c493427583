"""Errors of the engines' libraries in words that help."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ctc_mm.errors import CTCError, EngineError

NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "allocate memory", "bad_alloc", "bad alloc")


@contextmanager
def failures_named(name: str, batch_size: int, device: str) -> Iterator[None]:
    """Turn what a library raises while it runs a model into an ``EngineError``: lack of memory with its cure.

    Args:
        name: of the model, or of its file.
        batch_size: of the batch that was run.
        device: it was run on.
    """
    try:
        yield
    except CTCError:
        raise
    except Exception as error:  # each library has classes of its own, some of them of Exception alone
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if isinstance(error, MemoryError) or any(words in str(error).lower() for words in NO_MEMORY):
            raise EngineError(
                f"{name}: no memory on {device} for {batch_size} images at once; give a smaller --batch-size ({reason})"
            ) from error
        raise EngineError(f"{name}: the model failed on {device}: {reason}") from error
