"""The documentation site: it builds without a warning, and every command that it and README show can be typed."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from browser import Browser

from hodor_cli.cli import COMMANDS

#: Pictures of the site, all together, in bytes.
_MOST_BYTES = 1_500_000


@pytest.fixture(scope="module")
def tutorials(repository: Path) -> ModuleType:
    """docs/tutorials.py as a module."""
    spec = importlib.util.spec_from_file_location("tutorials", repository / "docs" / "tutorials.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["tutorials"] = module
    spec.loader.exec_module(module)
    return module


def parse(line: str) -> None:
    """Parse a command line by the command itself. Raises what a user would be told."""
    name, *words = shlex.split(line, comments=True)
    command: Any = COMMANDS[name].load(name)
    if hasattr(command, "commands"):
        command, words = command.commands[words[0]], words[1:]
    with command.context_class(command, info_name=name) as context:
        command.parse_args(context, words)


def test_every_command_on_a_page_can_be_typed(repository: Path, tutorials: ModuleType) -> None:
    pages = tutorials.pages()
    assert len(pages) >= 7
    seen = 0
    for page in [*pages, repository / "docs" / "index.md"]:
        for line in tutorials.commands(page):
            try:
                parse(line)
            except Exception as error:
                raise AssertionError(f"{page.name}: hodor {line}") from error
            seen += 1
    assert seen > 40


def test_a_command_with_an_option_that_is_gone_is_noticed() -> None:
    with pytest.raises(Exception, match="--nothing"):
        parse("segment clip.mp4 --nothing 3")


def test_blocks_are_run_in_their_order_unless_a_reason_is_given(tmp_path: Path, tutorials: ModuleType) -> None:
    page = tmp_path / "page.md"
    text = "```bash\necho 1\n```\n<!-- not run: a reason -->\n```bash\nexit 1\n```\n```python\nprint(2)\n```\n"
    page.write_text(text + "```\nno\n```\n")
    found = [(block.kind, block.code, block.skipped) for block in tutorials.blocks(page)]
    assert found == [("bash", "echo 1\n", False), ("bash", "exit 1\n", True), ("python", "print(2)\n", False)]
    tutorials.run_page(page, tmp_path)
    page.write_text("```bash\nfalse\ntrue\n```\n")
    with pytest.raises(subprocess.CalledProcessError):
        tutorials.run_page(page, tmp_path)


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--files", "."], ". exists already; name a new folder"), (["onevideo"], "there is no page onevideo; the pages")],
)
def test_a_wrong_folder_or_page_is_named(
    words: list[str],
    said: str,
    tutorials: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["tutorials.py", *words])
    with pytest.raises(SystemExit):
        tutorials.main()
    assert said in capsys.readouterr().err


def test_every_block_of_readme_and_tutorials_says_what_it_is(tutorials: ModuleType) -> None:
    for page in tutorials.pages():
        fences = re.findall(r"^```(\w*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
        opened, closed = fences[::2], fences[1::2]
        assert opened and set(opened) <= {"bash", "python"}, (page.name, opened)
        assert set(closed) == {""}, page.name


def test_the_pictures_are_small_and_all_used(repository: Path) -> None:
    docs = repository / "docs"
    pictures = [path for path in docs.rglob("*") if path.suffix in (".jpg", ".png", ".webp", ".gif", ".mp4")]
    assert sum(path.stat().st_size for path in pictures) <= _MOST_BYTES
    text = "".join(path.read_text(encoding="utf-8") for path in docs.rglob("*.md"))
    assert [path.name for path in pictures if path.name not in text] == []


@pytest.fixture(scope="module")
def site(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built; warnings are errors."""
    pytest.importorskip("material", reason="mkdocs-material is not installed")
    pytest.importorskip("mkdocstrings", reason="mkdocstrings is not installed")
    folder = tmp_path_factory.mktemp("site")
    result = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=repository,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return folder


def test_the_site_builds_without_a_warning(site: Path) -> None:
    for page in ("index.html", "tutorials/one-video/index.html", "api/index.html", "model_card/index.html"):
        assert (site / page).is_file(), page
    assert "hodor_cli.run.segment.segment" in (site / "api" / "index.html").read_text(encoding="utf-8")


def test_lines_of_code_fit_the_pages_for_beginners(site: Path, tmp_path: Path) -> None:
    browser = Browser(tmp_path / "profile", 1440, 900)
    try:
        for page in (site / "index.html", *sorted(site.glob("tutorials/*/index.html"))):
            browser.open(page.as_uri())
            wide = (
                "Array.from(document.querySelectorAll('pre code')).filter((one) => one.scrollWidth > one.clientWidth)"
            )
            assert browser.run(f"{wide}.map((one) => one.textContent)") == [], page
            browser.close_tab()
    finally:
        browser.close()
