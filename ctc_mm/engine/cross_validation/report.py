"""One report of a run: HTML in one file that works offline, and Markdown beside the pictures."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

from ctc_mm.engine.cross_validation.section import Picture, Section
from ctc_mm.formats.files import atomic_write_text

TEMPLATES = Path(__file__).parent / "templates"
HTML_FILE, MARKDOWN_FILE = "report.html", "report.md"


def write_report(out_dir: Path, title: str, lead: Sequence[str], sections: Sequence[Section]) -> None:
    """Write ``report.html`` and ``report.md``.

    Args:
        out_dir: of the run; the pictures of ``report.md`` lie there.
        title: of both.
        lead: sentences at the top.
        sections: in their order, each with its tables, then its pictures.
    """
    atomic_write_text(out_dir / HTML_FILE, render_html(title, lead, sections))
    atomic_write_text(out_dir / MARKDOWN_FILE, render_markdown(title, lead, sections))


def render_html(title: str, lead: Sequence[str], sections: Sequence[Section]) -> str:
    """The report as one HTML file, pictures inside."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("cross_validation.html.j2")
    return template.render(title=title, lead=lead, sections=sections, data_uri=_data_uri) + "\n"


def _data_uri(picture: Picture) -> str:
    return "data:image/png;base64," + base64.b64encode(picture.png).decode("ascii")


def render_markdown(title: str, lead: Sequence[str], sections: Sequence[Section]) -> str:
    """The report as Markdown; pictures are files beside it."""
    blocks = [f"# {_plain(title)}", *map(_plain, lead)]
    for section in sections:
        for table in section.tables:
            lines = ["| " + " | ".join(map(_cell, row)) + " |" for row in (table.header, *table.rows)]
            lines.insert(1, "|" + "---|" * len(table.header))
            blocks += [f"## {_plain(table.title)}", "\n".join(lines), _plain(table.note)]
        blocks += [f"![{_plain(one.caption)}]({one.file})\n\n{_plain(one.caption)}" for one in section.pictures]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|")


def _plain(text: str) -> str:
    """Text that Markdown takes as such: names of classes and groups may hold anything."""
    return text.replace("\\", "\\\\").replace("<", "&lt;").replace("[", "\\[").replace("\n", " ")
