"""One run from start to end: train, test, note that it is done; every step is taken up where it was left."""

from __future__ import annotations

import re
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ctc_mm.engine.runs.processes import Children, Stopped
from ctc_mm.engine.runs.run_folder import RunFolder, resume_point
from ctc_mm.errors import CTCError, InstallationError
from ctc_mm.formats.files import write_json

TOOLS = Path(__file__).resolve().parents[3] / "tools"
TAIL_LINES = 12
# What the size of a data set brings about, or a machine's: text in its log -> what to do.
CURES = {
    "Expected more than 1 value per channel": "the last batch of an epoch holds one image, too few for BatchNorm: add "
    "train_dataloader.drop_last=True to --cfg-options, or take another batch size (--again: for all alike)",
    "out of memory": "fewer --jobs, or a smaller batch",
    "No space left on device": "make room, or give another --out",
}
KILLED = 9
_ERROR_LINE = re.compile(r"^(error: |\w*(Error|Exception|Interrupt)\b)")


@dataclass(frozen=True)
class RunCommands:
    """The command lines of a run, as a user would type them.

    Attributes:
        trust: pass ``--trust-checkpoint`` on.
        other_images: pass ``--other-images`` on to the test.
        tools: folder of ``train.py`` and ``test.py``.
    """

    trust: bool = False
    other_images: bool = False
    tools: Path = TOOLS

    def __post_init__(self) -> None:
        if not (self.tools / "train.py").is_file():
            raise InstallationError(
                f"{self.tools}: tools/train.py is not there. Models are trained by the project's own commands: install "
                "ctc_mm from a checkout (pip install -e .) and run the command there."
            )

    def train(self, folder: RunFolder, resume: bool) -> list[str]:
        """Train, or go on with it."""
        words = [str(self.tools / "train.py"), str(folder.config), "--work-dir", str(folder.model)]
        return [sys.executable, *words, *(["--resume"] if resume else []), *self._trust()]

    def test(self, folder: RunFolder, checkpoint: Path) -> list[str]:
        """Test on the config's test set."""
        words = [str(self.tools / "test.py"), str(folder.config), str(checkpoint), "--out", str(folder.test)]
        other = ["--other-images"] if self.other_images else []
        return [sys.executable, *words, "--speed-images", "0", *other, *self._trust()]

    def _trust(self) -> list[str]:
        return ["--trust-checkpoint"] if self.trust else []


@dataclass(frozen=True)
class RunOutcome:
    """How a run ended.

    Attributes:
        name: of the run.
        was_done: it had been finished before.
        problem: what went wrong, with the end of its log; '' if nothing did.
        stopped: the user stopped it before its end.
    """

    name: str
    was_done: bool = False
    problem: str = ""
    stopped: bool = False


def run_one(
    name: str, folder: RunFolder, digests: Mapping[str, str], children: Children, commands: RunCommands
) -> RunOutcome:
    """Bring a run to its end.

    Args:
        name: for messages.
        folder: with config, split and data in place.
        digests: of config, split and data; written to ``done.json``.
        children: start the processes.
        commands: that are run.
    """
    if folder.is_done(digests):
        return RunOutcome(name, was_done=True)
    try:
        problem = _train(folder, children, commands) or _test(folder, children, commands, digests)
    except Stopped:
        return RunOutcome(name, stopped=True)
    except (CTCError, OSError) as error:
        problem = str(error)
    return RunOutcome(name, problem=problem)


def _train(folder: RunFolder, children: Children, commands: RunCommands) -> str:
    if folder.trained() is not None:
        return ""
    checkpoint, reason = resume_point(folder.model)
    if checkpoint is None:
        folder.clear()
        if reason:
            _note(folder.train_log, f"an interrupted training is started anew: {reason}")
    else:
        _note(folder.train_log, f"goes on from {checkpoint.name}")
    begin = time.monotonic()
    code = children.run(commands.train(folder, resume=checkpoint is not None), folder.train_log)
    if code:
        return describe_failure("training", code, folder.train_log)
    folder.mark_trained(time.monotonic() - begin, resumed=checkpoint is not None)
    _drop_spare_checkpoints(folder.model)
    return ""


def _test(folder: RunFolder, children: Children, commands: RunCommands, digests: Mapping[str, str]) -> str:
    trained = folder.trained() or {}
    shutil.rmtree(folder.test, ignore_errors=True)  # half a test
    begin = time.monotonic()
    code = children.run(commands.test(folder, folder.path / trained["checkpoint"]), folder.test_log)
    if code:
        return describe_failure("test", code, folder.test_log)
    if not (folder.test / "metrics.json").is_file():
        return f"the test wrote no {folder.test / 'metrics.json'}; is a metric of ctc_mm in `test_evaluator`?"
    seconds = round(time.monotonic() - begin, 2)
    write_json(folder.done_mark, {"digests": dict(digests), **trained, "test_seconds": seconds})
    return ""


def _drop_spare_checkpoints(model: Path) -> None:
    """Keep the last of the epochs' checkpoints beside the best weights; the one before was kept in case of a kill."""
    last = model / "last_checkpoint"
    kept = Path(last.read_text(encoding="utf-8").strip()).name if last.is_file() else None
    for path in model.glob("epoch_*.pth"):
        if kept is not None and path.name != kept and (model / kept).is_file():
            path.unlink()


def describe_failure(what: str, code: int, log: Path) -> str:
    """Say how a process ended: the error line of its log, the log's place and its last lines."""
    how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
    lines = tail(log)
    error = next((line for line in reversed(lines) if _ERROR_LINE.match(line)), None)
    cures = [cure for text, cure in CURES.items() if any(text in line for line in lines)]
    if code == -KILLED:
        cures.append("where nobody killed it, memory ran out: fewer --jobs, or a smaller batch")
    told = "".join(f"\n  {cure}" for cure in cures)
    shown = "\n".join(f"    {line}" for line in lines)
    return f"its {what} {how}{': ' + error if error else ''}{told}\n  end of {log}:\n{shown}"


def tail(log: Path, lines: int = TAIL_LINES) -> list[str]:
    """Last lines of a log that hold something."""
    if not log.is_file():
        return []
    text = log.read_bytes()[-16384:].decode("utf-8", errors="replace")
    return [line.rstrip() for line in text.splitlines() if line.strip()][-lines:]


def _note(log: Path, remark: str) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as file:
        file.write(f"--- {remark}\n")
