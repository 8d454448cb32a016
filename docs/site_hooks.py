"""Adds pages of the repository outside docs/ to the site, and rewrites links that lead out of docs/."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
#: Files outside docs/, and the names of their pages on the site.
ELSEWHERE = {
    "hodor_cli/weights/bundled/MODEL_CARD.md": "model_card.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "README.md": "index.md",
}
_LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)(#[^)\s]*)?\)")


def on_config(config: Any) -> Any:
    """Append pages of docs/ that the nav does not name to "How to"."""
    named = re.findall(r"[\w./-]+\.md", str(config.nav))
    more = sorted(path.name for path in (ROOT / "docs").glob("*.md") if path.name not in named)
    next(part for part in config.nav if "How to" in part)["How to"].extend(more)
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages from outside docs/."""
    for path, page in ELSEWHERE.items():
        if page != "index.md":
            files.append(File.generated(config, page, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Point links between files of the repository to pages of the site; links to other files become plain text."""
    written = next((path for path, name in ELSEWHERE.items() if name == page.file.src_uri and name != "index.md"), None)
    folder = (ROOT / (written or f"docs/{page.file.src_uri}")).parent
    depth = "../" * page.file.src_uri.count("/")

    def link(found: re.Match[str]) -> str:
        target = (folder / found[1]).resolve()
        if not target.is_relative_to(ROOT):
            return found[0]
        place = target.relative_to(ROOT).as_posix()
        if place in ELSEWHERE:
            return f"]({depth}{ELSEWHERE[place]}{found[2] or ''})"
        if place.startswith("docs/") and not place.endswith(".jsonl"):  # which the site leaves out
            return f"]({depth}{place.removeprefix('docs/')}{found[2] or ''})" if written else found[0]
        return f'](# "{place} in the repository")'

    return _LINK.sub(link, markdown)
