"""The command as a whole: help, version, error messages, and lazy imports."""

from __future__ import annotations

import errno
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from command import hodor, refused
from typer.testing import CliRunner

import hodor_cli
from hodor_cli.cli import COMMANDS, app
from hodor_cli.cli.failures import explain
from hodor_cli.cli.lazy import CommandSpec, LazyGroup
from hodor_cli.cli.old_spellings import RENAMED, current_command, current_options
from hodor_cli.errors import HodorError, InputError, OutputError, UsageError

COCO = "--coco is --export coco-video, written to export/coco-video/,"

HEAVY = ("torch", "av", "cv2", "numpy", "matplotlib", "h5py", "sklearn", "scipy", "PIL")


def run_python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    import os

    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=120, env={**os.environ, **environment}
    )


def modules_imported_by(*arguments: str) -> set[str]:
    code = (
        "import sys, runpy\n"
        f"sys.argv = ['hodor', *{list(arguments)!r}]\n"
        "try:\n    runpy.run_module('hodor_cli', run_name='__main__')\n"
        "finally:\n    print('\\nMODULES', *sorted({name.split('.')[0] for name in sys.modules}))\n"
    )
    ran = run_python("-c", code)
    return set(ran.stdout.rsplit("MODULES", 1)[1].split())


def commands_below(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    """The command itself and, for a group, all its subcommands, each with its full name."""
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands_below(f"{path} {name}", inner)


def test_help_and_version_import_nothing_heavy() -> None:
    for arguments in (["--help"], ["--version"], []):
        assert not modules_imported_by(*arguments) & set(HEAVY), arguments


@pytest.mark.parametrize("name", list(COMMANDS))
def test_help_of_a_command_imports_nothing_heavy_and_documents_all_of_it(name: str) -> None:
    assert not modules_imported_by(name, "--help") & {"torch", "av", "cv2", "matplotlib", "h5py", "sklearn", "scipy"}
    hodor(name, "--help")
    for path, command in commands_below(name, COMMANDS[name].load(name)):
        assert command.help, f"{path} has no help"
        undocumented = [
            parameter.name
            for parameter in command.params
            if not getattr(parameter, "help", None) and not getattr(parameter, "hidden", False)
        ]
        assert not undocumented, f"{path} does not explain {undocumented}"


def test_every_command_is_in_the_help() -> None:
    text = CliRunner().invoke(app, ["--help"]).output
    for name in COMMANDS:
        assert f"\n  {name} " in text, name


def test_version() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.output) == (0, f"hodor {hodor_cli.__version__}\n")


def test_python_m_runs_the_same_command() -> None:
    ran = run_python("-m", "hodor_cli", "--version")
    assert (ran.returncode, ran.stdout) == (0, f"hodor {hodor_cli.__version__}\n")


def test_public_names_are_listed_and_unknown_ones_refused() -> None:
    assert set(hodor_cli.__all__) <= set(dir(hodor_cli))
    with pytest.raises(AttributeError, match="no attribute 'Segmentor'"):
        _ = hodor_cli.Segmentor


def test_info_names_versions_and_machine() -> None:
    text = CliRunner().invoke(app, ["info"]).stdout
    assert text.startswith("versions\n") and "\ndevices\n" in text
    facts = dict(line.split(maxsplit=1) for line in text.splitlines() if line.startswith("  "))
    assert facts["hodor"].startswith(hodor_cli.__version__) and facts["torch"][0].isdigit()
    assert "usable" in facts["cores"] and "thread" in facts["cpu"]  # "1 thread" after tests that set one


def failing_app(monkeypatch: pytest.MonkeyPatch, action: Callable[[], None]) -> typer.Typer:
    """An app like hodor's whose only command `act` runs `action`."""
    import types

    module = types.ModuleType("hodor_cli.cli.test_commands")

    def act(count: int = typer.Option(1, help="How often.")) -> None:
        """Act."""
        action()

    module.act = act  # type: ignore[attr-defined]
    module.__spec__ = __import__("importlib.machinery", fromlist=["ModuleSpec"]).ModuleSpec(module.__name__, None)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    group = type("Group", (LazyGroup,), {"specs": {"act": CommandSpec("test_commands", "Act.")}})
    made = typer.Typer(cls=group, rich_markup_mode=None, name="hodor")
    made.callback()(lambda: None)
    return made


def raiser(error: BaseException) -> Callable[[], None]:
    def action() -> None:
        raise error

    return action


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (InputError("clip.mp4 does not exist"), 3, "error: clip.mp4 does not exist"),
        (OutputError("out exists already; add --overwrite"), 6, "error: out exists already; add --overwrite"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (typer.Abort(), 130, "interrupted"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 141, ""),
        (OSError(errno.ENOSPC, "No space left on device", "out/00001.png"), 6, "error: the disk is full writing out/"),
        (PermissionError(errno.EACCES, "Permission denied", "/root/out"), 6, "error: no permission for /root/out"),
        (
            OSError(errno.ENAMETOOLONG, "File name too long", "a/x.hodor"),
            6,
            "error: the file name x.hodor is too long;",
        ),
        (
            OSError(errno.ENAMETOOLONG, "File name too long", "photographs/a/b"),
            6,
            "error: the file name photographs is too long;",
        ),
        (MemoryError("Unable to allocate 9 TiB"), 5, "error: there is not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: ..."), 5, "error: there is not enough memory"),
        (RuntimeError("could not create a primitive"), 5, "error: there is not enough memory"),
        (ImportError("libavcodec.so.62: failed to map segment from ..."), 5, "error: there is not enough memory"),
        (OSError(errno.EMFILE, "Too many open files"), 5, "error: too many files are open; allow more"),
        (ValueError("two\nlines"), 70, "error: unexpected ValueError: two lines (test_cli_app.py:"),
        (typer.Exit(9), 9, ""),
        (SystemExit(5), 5, ""),
    ],
)
def test_an_error_becomes_one_line_and_an_exit_code(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, said: str
) -> None:
    result = CliRunner().invoke(failing_app(monkeypatch, raiser(error)), ["act"])
    assert result.exit_code == code
    assert result.stdout == ""
    assert result.stderr.startswith(said) and (said != "" or result.stderr == "")
    assert result.stderr.count("\n") == (1 if said else 0)


def test_a_locale_without_the_letters_of_a_file_name_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "ascii")
    error = UnicodeEncodeError("ascii", "clip_ü.png", 5, 6, "ordinal not in range(128)")
    result = CliRunner().invoke(failing_app(monkeypatch, raiser(error)), ["act"])
    assert result.exit_code == 3
    assert result.stderr == "error: this locale allows only ascii in file names; set PYTHONUTF8=1\n"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not remove a folder in use")
def test_a_removed_working_folder_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tmp_path.rmdir()
    assert "working folder was removed" in refused("info", code=3)
    monkeypatch.undo()


def test_an_internal_error_asks_for_a_report_and_can_show_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    fault = failing_app(monkeypatch, raiser(ZeroDivisionError("oops")))
    plain = CliRunner().invoke(fault, ["act"]).stderr
    assert "please report it" in plain and "HODOR_DEBUG=1" in plain and "Traceback" not in plain
    monkeypatch.setenv("HODOR_DEBUG", "1")
    assert "Traceback (most recent call last)" in CliRunner().invoke(fault, ["act"]).stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ackt"], "no such command 'ackt'. Did you mean 'act'? (see `hodor --help`)"),
        (["act", "--cuont", "2"], "--cuont"),
        (["act", "--count", "x"], "--count"),
        (["act", "more"], "more"),
    ],
)
def test_wrong_usage_is_one_line_that_names_the_help(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    result = CliRunner().invoke(failing_app(monkeypatch, lambda: None), arguments, prog_name="hodor")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
    assert said in result.stderr and "--help`)" in result.stderr and "Input should" not in result.stderr


def test_every_error_kind_has_its_own_exit_code() -> None:
    kinds = HodorError.__subclasses__()
    assert len({kind.exit_code for kind in kinds}) == len(kinds)
    for kind in kinds:
        assert explain(kind("what, where, way out")) == (kind.exit_code, "error: what, where, way out")


def test_a_misspelt_command_or_option_suggests_the_most_similar_one_that_help_shows() -> None:
    for arguments, said in (
        (["segment-vidoe"], "'segment-many'"),
        (["segment", "a.mp4", "--preciison"], "--precision"),
        (["segment", "a.mp4", "--workres"], "--workres"),
    ):
        result = hodor(*arguments, code=2)
        assert said in result.stderr
        assert "segment-video" not in result.stderr and "--workers" not in result.stderr
    hodor("segment-video", "--help")


def test_a_misspelt_choice_suggests_the_most_similar_one() -> None:
    from hodor_cli.evaluation.given import GivenSettings
    from hodor_cli.runtime.device import choose_device, choose_precision
    from hodor_cli.training.config import LearningRate

    wrong = {
        "bf16": lambda: choose_precision("bf61", choose_device("cpu")),
        "cuda": lambda: choose_device("coda"),
        "suggest": lambda: GivenSettings((1,), ("sugest",)),
        "cosine": lambda: LearningRate(decay="cosin"),
    }
    for meant, make in wrong.items():
        with pytest.raises(UsageError, match=f"did you mean {meant}"):
            make()


def test_help_leaks_nothing_from_the_code() -> None:
    for name in COMMANDS:
        for path, _ in commands_below(name, COMMANDS[name].load(name)):
            arguments = [*path.split(), "--help"]
            text = CliRunner().invoke(app, arguments).output
            assert not re.search(r"<[a-z]|\{|\}|x>=|<=x|\.0[;\]]|\]\s+\[default|object\(s\)", text), (path, text)
            assert "[default: ]" not in text


def test_outputs_and_overwriting_are_spelled_the_same_everywhere() -> None:
    for name in COMMANDS:
        for path, command in commands_below(name, COMMANDS[name].load(name)):
            flags = {flag for parameter in command.params for flag in parameter.opts}
            assert not flags & set(RENAMED), path
            assert ("-o" in flags) == ("--out" in flags), path


@pytest.mark.parametrize(
    ("old", "today", "warned"),
    [
        ("segment-video a.mp4", "segment a.mp4", ["hodor segment-video is hodor segment"]),
        (
            "segment clips --masks=m --gpus 2 --ray auto",
            "segment-many clips --masks=m --gpus 2 --ray auto",
            ["hodor segment --masks is hodor segment-many --masks"],
        ),
        ("segment a --coco", "segment --export coco-video a --coco", [COCO]),
        ("segment a --coco --export csv", "segment a --coco --export csv,coco-video", [COCO]),
        ("segment-many a --export=csv --coco", "segment-many a --export=csv,coco-video", [COCO]),
        ("annotate a --masks m -o b", "annotate a --masks m -o b", []),
    ],
)
def test_the_spellings_of_version_0_1_still_work_with_a_warning(
    capsys: pytest.CaptureFixture[str], old: str, today: str, warned: list[str]
) -> None:
    assert current_command(old.split()) == today.split()
    assert warnings_of_spellings(capsys) == warned


def test_renamed_options_still_work_with_a_warning_in_commands_that_have_the_new_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    known = ["--out", "-o", "--overwrite", "--data"]
    old, today = "--output=a --force --data b -- --force", "--out=a --overwrite --data b -- --force"
    assert current_options(old.split(), known) == today.split()
    assert warnings_of_spellings(capsys) == ["--output is --out", "--force is --overwrite"]
    assert current_options(old.split(), ["--data"]) == old.split() and not warnings_of_spellings(capsys)
    assert "--output is --out now" in hodor("weights", "average", "--output", "a", code=2).stderr


def warnings_of_spellings(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The renames warned about since the last call, such as "--output is --out"."""
    warnings = [
        re.fullmatch(r"warning: (.*) now; the old .* version 0\.3", line)
        for line in capsys.readouterr().err.splitlines()
    ]
    return [found[1] for found in warnings if found is not None]


@pytest.mark.parametrize(
    ("command", "unused"),
    [
        ("evaluate-clicks DAVIS --method grabcut --side 500", "--side"),
        ("evaluate-clicks DAVIS --method grabcut --device cpu", "--device"),
        ("retrieval --pr-curve --top 3", "--top"),
        ("retrieval --pr-curve --weights toy", "--weights"),
        ("export a --to csv,ctc --frames", "--frames"),
        ("convert a b --to csv --frames", "--frames"),
        ("convert a b --to png --simplify 2", "--simplify"),
    ],
)
def test_an_option_that_would_be_ignored_is_refused(command: str, unused: str) -> None:
    said = hodor(*command.split(), code=2).stderr
    assert unused in said and "leave" in said and said.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--min-dim 288 --min-dim=384", "--min-dim is given 2 times; give it once"),
        ("-o a --out b --output c", "--out is given 3 times; give it once"),
        ("-out=a", "long options begin with two dashes: --out, not -out"),
        ("--out=", "--out is empty; say where to write"),
        ("--mask a.png --start --end 4", "--start has no value: --end follows it"),
        ("--mask --out a", "--mask has no value: --out follows it"),
        ("--overlay --no-overlay", "--overlay/--no-overlay is given 2 times; give it once"),
        ("--export csv --export coco", "--export is given 2 times; give it once, with its values joined by commas"),
    ],
)
def test_an_option_that_would_be_misread_is_refused(options: str, said: str) -> None:
    assert refused("segment", "a.mp4", *options.split(), code=2) == f"error: {said}"


def test_a_switch_and_a_repeatable_option_may_be_given_twice() -> None:
    twice = ("--overwrite", "--overwrite", "--mask", "a", "--mask", "b")
    assert "there is no video" in refused("segment", "nowhere.mp4", *twice, code=3)


def test_a_budget_without_a_unit_suggests_one() -> None:
    said = refused("segment", "a.mp4", "--mask", "m.png", "--adapt", "10", code=2)
    assert "10 belongs to no option; if it is a budget, give its unit: --adapt 10s" in said


def test_a_value_may_be_the_letter_of_an_option() -> None:
    assert "there is no video" in refused("segment", "nowhere.mp4", "--mask", "a", "-o", "o", code=3)


@pytest.mark.parametrize("typo", ["a.mp4 --masks m.png", "a.mp4 --masks folder", "frames --masks=m.png"])
def test_masks_for_one_video_suggests_mask(typo: str) -> None:
    result = hodor("segment", *typo.split(), code=2)
    assert result.output.count("\n") == 1, result.output
    assert "hodor segment takes one video and --mask; --masks belongs to hodor segment-many" in result.output


@pytest.mark.parametrize("command", ["bench", "evaluate nowhere --given 1", "evaluate-clicks nowhere"])
def test_json_does_not_overwrite_a_file(tmp_path: Path, command: str) -> None:
    (tmp_path / "mine.json").write_text("mine")
    said = refused(*command.split(), "--json", tmp_path / "mine.json", code=6)
    assert said.endswith("exists already; choose another file for --json")
    assert (tmp_path / "mine.json").read_text() == "mine"
    assert "there is no folder" in refused(*command.split(), "--json", tmp_path / "none" / "new.json", code=6)
    (tmp_path / "link.json").symlink_to("nowhere.json")
    assert "link.json is a link" in refused(*command.split(), "--json", tmp_path / "link.json", code=6)


@pytest.mark.parametrize(
    ("command", "flag"), [("segment a.mp4 b.png", "--mask"), ("pretrain photos", "--data"), ("map a.h5 b", "--out")]
)
def test_a_file_without_an_option_suggests_an_option_of_the_command(command: str, flag: str) -> None:
    assert f"belongs to no option: a file follows its option, such as {flag}, and" in refused(*command.split())


def test_files_of_an_expanded_shell_pattern_suggest_their_folder() -> None:
    frames = [f"frames/{number:05d}.png" for number in range(300)]
    said = refused("segment", *frames, "--mask", "a.png", code=2)
    assert "frames/00001.png and 298 more files belong to no option; give the folder that holds them" in said


def test_everyday_options_come_first() -> None:
    text = CliRunner().invoke(app, ["segment", "--help"]).output
    places = [text.index(title) for title in ("\nOptions:", "\nWhich frames:", "\nNetwork:", "\nMachine:")]
    assert places == sorted(places)
    everyday = text[places[0] : places[1]]
    assert everyday.index("--mask ") < everyday.index("--out") and "--precision" not in everyday


def test_a_closed_pipe_is_quiet() -> None:
    code = f"{sys.executable} -m hodor_cli --help | true"
    ran = subprocess.run(["sh", "-c", code], capture_output=True, text=True, timeout=60)
    assert ran.stderr == ""


def test_completing_a_command_line_fetches_nothing() -> None:
    words = "hodor segment --weights http://127.0.0.1:9/a.safetensors --mas"
    shell = {"_HODOR_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": "4"}
    ran = run_python("-c", "from hodor_cli.cli import main; main()", **shell)
    assert (ran.stdout.split(), ran.stderr) == (["--mask"], "")


def test_progress_is_silent_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    from hodor_cli.cli.terminal import progress_bar

    with progress_bar("segmenting", total=3) as show:
        show(1)
        show(3, total=4)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_examples_in_help_keep_their_lines() -> None:
    assert "\n  hodor segment clip.mp4 --mask first_frame.png\n" in CliRunner().invoke(app, ["--help"]).output


def test_a_bar_on_a_terminal_shows_count_and_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    from hodor_cli.cli.terminal import progress_bar

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    with progress_bar("segmenting", total=3, unit="frames") as show:
        for done in (1, 2, 3):
            show(done)
    assert "segmenting" in screen.getvalue() and "3/3 frames" in screen.getvalue()
