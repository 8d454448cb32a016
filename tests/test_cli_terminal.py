"""Terminal output: harmless text in any encoding, closed streams, and messages that name flags."""

from __future__ import annotations

import contextvars
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from rich.table import Table
from typer.testing import CliRunner

from hodor_cli.cli import COMMANDS
from hodor_cli.cli.failures import explain
from hodor_cli.cli.terminal import (
    COMMANDS_OF,
    flags_of,
    keeping_flags,
    new_console,
    note,
    remember_flags,
    say,
    say_json,
    with_flags,
)
from hodor_cli.errors import UsageError


def run_shell(command: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a shell command in which $H stands for `python -c`."""
    return subprocess.run(
        ["bash", "-c", command.replace("$H", f"{sys.executable} -c")],
        capture_output=True,
        timeout=60,
        env={**os.environ, **environment},
    )


PRINTS = "'from hodor_cli.cli.terminal import *; prepare_streams(); say(chr(0x65e5)); note(chr(0x1f3ac)); say(\"end\")'"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_characters_missing_from_the_encoding_are_printed_as_escapes(encoding: str) -> None:
    ran = run_shell(f"$H {PRINTS}", PYTHONIOENCODING=encoding)
    assert ran.returncode == 0, ran.stderr
    name = "日" if encoding == "utf-8" else "\\u65e5"
    assert ran.stdout.decode().splitlines() == [name, "end"]


@pytest.mark.parametrize("closed", ["2>&-", ">&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_error_and_no_file_takes_their_number(closed: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    code = f'prepare_streams(); f = open("{file}", "w"); say("1"); note("2")'
    opens = f"'from hodor_cli.cli.terminal import *; {code}'"
    ran = run_shell(f"$H {opens} {closed}")
    assert ran.returncode == 0
    assert file.read_text() == ""


@pytest.mark.parametrize(
    ("redirection", "code", "said"),
    [
        ("> /dev/full", 6, b"error: the disk is full"),
        ("2> /dev/full", 0, b""),
    ],
)
def test_streams_that_cannot_be_written_to_end_in_one_line_at_most(redirection: str, code: int, said: bytes) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    ran = run_shell(f"{sys.executable} -m hodor_cli weights list {redirection}")
    assert ran.returncode == code
    assert ran.stderr.startswith(said) and ran.stderr.count(b"\n") == (1 if said else 0)


def test_a_reader_that_has_gone_ends_the_command_quietly() -> None:
    ran = run_shell(f"{{ sleep 0.3; {sys.executable} -m hodor_cli weights list; echo $? >&2; }} | true")
    assert ran.stderr == b"141\n"


HOSTILE = "a\x1b[31mred\x07\x9b2J\u202etxt\nerror: fake"


def test_control_characters_in_names_do_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    say(HOSTILE)
    note(HOSTILE)
    say_json({"name": HOSTILE})
    table = Table("name")
    table.add_row(HOSTILE)
    console = new_console()
    console.print(HOSTILE)
    console.print(table)
    captured = capsys.readouterr()
    for written in (captured.out, captured.err):
        assert not set(written) & set("\x1b\x07\x9b\u202e")
        assert "\\x1b[31mred" in written
    assert captured.err.count("\n") == 1  # still one line


def test_json_on_stdout_is_ascii_and_keeps_its_value(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"name": "é日🎬\x7f"}
    say_json(value)
    written = capsys.readouterr().out
    assert written.isascii() and "\x7f" not in written and json.loads(written) == value


def test_parameter_names_in_messages_become_the_running_commands_flags() -> None:
    def with_segment() -> None:
        remember_flags(COMMANDS["segment"].load("segment"))
        assert with_flags("`min_dim` must be at most `settings.max_dim`") == "--min-dim must be at most --max-dim"
        assert with_flags("set `overwrite=True` or `overlay=False`") == "set --overwrite or --no-overlay"
        assert with_flags("give `history=7`; see `hodor info`") == "give --history 7; see `hodor info`"
        assert with_flags("`source` has no frame") == "SOURCE has no frame"

    contextvars.copy_context().run(with_segment)
    assert with_flags("`min_dim` is too small") == "`min_dim` is too small"


def test_messages_of_a_child_process_name_the_flags_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    def in_the_command() -> bytes:
        remember_flags(COMMANDS["pretrain"].load("pretrain"))
        return pickle.dumps(keeping_flags(note))

    sent = contextvars.copy_context().run(in_the_command)
    contextvars.copy_context().run(pickle.loads(sent), "`resume` continues")
    assert capsys.readouterr().err == "--resume continues\n"


def test_functions_in_messages_become_the_commands_that_do_the_same(repository: Path) -> None:
    assert with_flags("see `check_dataset`") == "see `hodor data check`"
    sources = "".join(file.read_text(encoding="utf-8") for file in (repository / "hodor_cli").rglob("*.py"))
    for function, command in COMMANDS_OF.items():
        _, name, *inner = command.split()
        assert f"\ndef {function}(" in sources
        loaded = COMMANDS[name].load(name)
        assert not inner or inner[0] in loaded.commands


def test_flags_of_a_group_are_those_of_its_commands() -> None:
    assert flags_of(COMMANDS["data"].load("data"))["min_area"] == "--min-area"


def test_an_error_of_the_library_names_flags() -> None:
    made = typer.Typer()

    @made.command()
    def act(min_dim: int = 1) -> None:
        remember_flags(typer.main.get_command(made))
        print(explain(UsageError("`min_dim` is\n1"))[1])

    assert CliRunner().invoke(made).output == "error: --min-dim is\\n1\n"
