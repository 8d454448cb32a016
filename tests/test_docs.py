"""What is documented, and that it is still true."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest

import hodor_cli
from hodor_cli.cli import COMMANDS

EVERYDAY = [
    "DescriptorStore", "FrameSource", "Segmenter", "evaluate", "finetune", "load_model", "open_source", "pretrain",
    "read_mask", "score_sequence", "segment_source", "write_label_png",
]  # fmt: skip


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_command_reference_is_current(repository: Path) -> None:
    page = repository / "docs" / "commands.md"
    written = load(repository / "docs" / "reference.py").reference()
    assert page.read_text(encoding="utf-8") == written, "run `make reference`"
    for name in COMMANDS:
        assert f"## hodor {name}" in written


def test_every_declared_setting_is_documented(repository: Path) -> None:
    rows = re.findall(r"^\| `(\S+)` \|.*\| (.*) \|$", (repository / "docs" / "commands.md").read_text(), re.MULTILINE)
    assert len(rows) > 40
    assert [name for name, help in rows if not help.strip()] == []


@pytest.mark.parametrize("name", [name for name in hodor_cli.__all__ if name != "__version__"])
def test_public_names_say_what_they_are(name: str) -> None:
    value = getattr(hodor_cli, name)
    assert value.__doc__ and not value.__doc__.startswith(f"{name}("), "has no docstring of its own"
    if name not in EVERYDAY:
        return
    assert re.search(r"^ {4,}\S.*[=(].*\n", value.__doc__, re.MULTILINE), "has no example"
    signature = inspect.signature(value.__init__ if inspect.isclass(value) else value)
    for parameter in list(signature.parameters.values()):
        assert parameter.kind is not inspect.Parameter.VAR_KEYWORD
        assert not re.search(r"\bAny\b", str(parameter.annotation)), parameter


def test_public_names_and_errors_are_complete() -> None:
    assert set(EVERYDAY) <= set(hodor_cli.__all__)
    kinds = {kind.__name__ for kind in hodor_cli.HodorError.__subclasses__()}
    assert kinds <= set(hodor_cli.__all__)


def test_the_page_of_the_api_has_every_public_name_and_no_other(repository: Path) -> None:
    page = re.findall(r"^::: ([\w.]+)$", (repository / "docs" / "api.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert "hodor_cli.errors" in page
    named = {path.rpartition(".")[2] for path in page} - {"errors"}
    assert named == {name for name in hodor_cli.__all__ if not name.startswith("_") and not name.endswith("Error")}


def test_python_in_the_documents_imports_what_exists(repository: Path) -> None:
    """`docs/tutorials.py` runs the blocks of README and the tutorials; this holds for all pages."""
    pages = [*repository.glob("*.md"), *(repository / "docs").rglob("*.md")]
    found = [
        (page, code) for page in pages for code in re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.M | re.S)
    ]
    assert len(found) >= 9
    for page, code in found:
        tree = ast.parse(code, page.name)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("hodor_cli"):
                module = importlib.import_module(str(node.module))
                assert [one.name for one in node.names if not hasattr(module, one.name)] == [], page.name
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "hodor_cli":
                assert node.attr in hodor_cli.__all__, page.name


def test_documents_name_commands_and_files_that_exist(repository: Path) -> None:
    pages = [*repository.glob("*.md"), *(repository / "docs").glob("*.md")]
    assert len(pages) >= 6
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for command in re.findall(r"^(?:\.venv/bin/)?hodor ([a-z-]+)", text, re.MULTILINE):
            assert command in COMMANDS, (page.name, command)
        for target in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (page.parent / target).exists(), (page.name, target)
