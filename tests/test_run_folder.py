"""The result folder: one run at a time, and nothing outside it is written or removed, whatever lies in it."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from segment_fakes import ColourSegmenter, MemorySource, two_squares

from hodor_cli import locks
from hodor_cli.annotate.result import open_target
from hodor_cli.errors import OutputError
from hodor_cli.files import is_plain_name, replacing, write_whole
from hodor_cli.locks import LOCK_FILE, locked_file
from hodor_cli.run.choosing import suggested_in
from hodor_cli.run.inputs import RunInputs
from hodor_cli.run.runner import segment_source
from hodor_cli.run.settings import RunHooks, RunOutput


def run(out: Path, count: int = 6, hooks: RunHooks | None = None, **output: Any) -> Any:
    images, first = two_squares(count)
    source, inputs = MemorySource(images), RunInputs({0: first})
    return segment_source(source, inputs, out, ColourSegmenter(), output=RunOutput(**output), hooks=hooks)


def unfinished(out: Path) -> None:
    """Leave a run as an interruption after its third frame does."""

    def stop(frame: Any, labels: Any) -> None:
        if frame.index == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(out, hooks=RunHooks(on_frame=stop))


@pytest.mark.parametrize("output", [{}, {"resume": True}, {"overwrite": True}])
def test_a_second_run_is_refused_while_the_first_writes(tmp_path: Path, output: dict[str, bool]) -> None:
    """Also through a link to the folder, and the first one ends as if it had been alone."""
    out, link = tmp_path / "out", tmp_path / "link"
    out.mkdir()
    link.symlink_to(out)
    refused: list[str] = []

    def second(frame: Any, labels: Any) -> None:
        if frame.index == 3:
            try:
                run(link, **output)
            except OutputError as error:
                refused.append(str(error))

    run(out, hooks=RunHooks(on_frame=second))
    assert len(refused) == 1
    if output:
        assert f"process {os.getpid()} on " in refused[0] and " since " in refused[0]
    assert len(list((out / "masks").iterdir())) == 6 and not (out / LOCK_FILE).exists()


def test_of_runs_that_begin_at_once_one_does_the_work(tmp_path: Path) -> None:
    for attempt in range(10):
        out, ended = tmp_path / str(attempt), []
        together = threading.Barrier(2)

        def begin(out: Path = out, ended: list[str] = ended, together: threading.Barrier = together) -> None:
            together.wait()
            try:
                run(out, resume=True)
                ended.append("done")
            except OutputError:
                ended.append("refused")

        threads = [threading.Thread(target=begin) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert "done" in ended and len(ended) == 2
        assert len(list((out / "masks").iterdir())) == 6 and (out / "report.json").exists()


def test_where_the_file_system_has_no_locks_the_named_process_is_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "_try_lock", lambda descriptor: None)
    said = f"process {os.getpid()} on .* since .* remove {tmp_path / 'file.lock'}"
    with locked_file(tmp_path / "file"), pytest.raises(OutputError, match=said), locked_file(tmp_path / "file"):
        pass
    with locked_file(tmp_path / "file"):
        pass


NAMES = ["../../victim", "/ABSOLUTE/victim", "..", "a/b", "x\0y", "", "a" * 300]


def test_a_folder_without_permission_to_write_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open

    def refused(path: Any, *arguments: Any, **options: Any) -> int:
        if Path(path).name == LOCK_FILE:
            raise PermissionError(13, "Permission denied")
        return opened(path, *arguments, **options)

    (tmp_path / "out").mkdir()
    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(OutputError, match=r"out cannot be written to \(Permission denied\); choose another"):
        run(tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["report", "journal"])
@pytest.mark.parametrize("way", ["overwrite", "resume"])
def test_names_that_lead_outside_are_refused_and_nothing_is_removed(
    tmp_path: Path, name: str, kind: str, way: str
) -> None:
    victim = tmp_path / "victim.png"
    victim.write_bytes(b"precious")
    out = tmp_path / "a" / "out"
    name = name.replace("/ABSOLUTE", str(tmp_path))
    if kind == "report":
        run(out)
        report = json.loads((out / "report.json").read_text())
        report["frames"][3]["name"] = name
        (out / "report.json").write_text(json.dumps(report))
    else:
        unfinished(out)
        journal = out / ".progress" / "journal.jsonl"
        lines = [json.loads(line) for line in journal.read_text().splitlines()]
        lines[1]["name"] = name
        journal.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))
    before = sorted(path.name for path in (out / "masks").iterdir())
    if (kind, way) == ("report", "resume"):
        assert run(out, resume=True).already_finished  # names are not looked at
    else:
        with pytest.raises(OutputError, match=r"outside its folder|damaged"):
            run(out, **{way: True})
    assert victim.read_bytes() == b"precious"
    # Masks past the last checkpoint may go: resuming makes them again.
    assert before[:2] == sorted(path.name for path in (out / "masks").iterdir())[:2]


@pytest.mark.parametrize("content", ["[]", '["hodor-report"]', "null", "{}", "[" * 5000, '{"format": "hodor-report"}'])
@pytest.mark.parametrize("way", ["overwrite", "resume"])
def test_a_report_of_another_shape_is_one_sentence(tmp_path: Path, content: str, way: str) -> None:
    out = tmp_path / "out"
    run(out)
    (out / "report.json").write_text(content)
    with pytest.raises(OutputError) as error:
        run(out, **{way: True})
    assert "\n" not in str(error.value) and len(list((out / "masks").iterdir())) == 6


def test_the_way_out_of_a_damaged_report_is_one_that_works(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(out)
    (out / "report.json").write_text("{")
    with pytest.raises(OutputError, match=f"move {re.escape(str(out))} away, or choose another `out`"):
        run(out, overwrite=True)
    out.rename(tmp_path / "away")
    run(out, overwrite=True)


def test_a_report_that_is_cut_off_is_called_damaged_by_all_who_read_it(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(out)
    (out / "report.json").write_text('{"format": "hodor-rep')
    for read in (
        lambda: run(out),
        lambda: run(out, overwrite=True),
        lambda: run(out, resume=True),
        lambda: open_target(out, None),
        lambda: suggested_in(out),
    ):
        with pytest.raises(OutputError, match=r"report\.json is damaged or not hodor's \(Input data was truncated\)"):
            read()
    assert len(list((out / "masks").iterdir())) == 6


@pytest.mark.parametrize("name", ["run.json", "journal.jsonl"])
@pytest.mark.parametrize("content", ["[]\n", "null\n", '{"frame": "x", "name": 3}\n', "\xff\n", "[" * 5000 + "\n"])
def test_damaged_records_of_an_unfinished_run_are_one_sentence(tmp_path: Path, name: str, content: str) -> None:
    out = tmp_path / "out"
    unfinished(out)
    path = out / ".progress" / name
    kept = path.read_bytes() if name == "journal.jsonl" else b""
    path.write_bytes(content.encode("latin-1") + kept)
    with pytest.raises(OutputError) as error:
        run(out, resume=True)
    assert "\n" not in str(error.value)


def test_links_inside_the_folder_lead_nowhere(tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "photos"
    elsewhere.mkdir()
    (elsewhere / "00001.png").write_bytes(b"mine")
    unfinished(out)
    for path, target in ((out / "masks", elsewhere), (out / ".progress" / "journal.jsonl", elsewhere / "00001.png")):
        kept = path.rename(tmp_path / "kept")
        path.symlink_to(target)
        for way in ("overwrite", "resume"):
            with pytest.raises(OutputError, match="is a link"):
                run(out, **{way: True})
        path.unlink()
        kept.rename(path)
    assert (elsewhere / "00001.png").read_bytes() == b"mine"
    assert run(out, resume=True).resumed_from == 3


def pipe(path: Path) -> None:
    os.mkfifo(path)


def link_to_pipe(path: Path) -> None:
    os.mkfifo(path.with_name("pipe"))
    path.symlink_to(path.with_name("pipe"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes in this file system")
@pytest.mark.parametrize("make", [pipe, link_to_pipe, Path.mkdir])
def test_only_a_regular_file_is_replaced(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "out.json"
    make(path)
    before = path.lstat()
    with pytest.raises(OutputError, match="which hodor does not replace"):
        write_whole(path, b"text")
    assert path.lstat().st_ino == before.st_ino and not list(tmp_path.glob("*.tmp"))


def test_a_link_to_a_file_is_neither_replaced_nor_followed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    with pytest.raises(OutputError, match="is a link"):
        write_whole(tmp_path / "link", b"new")
    assert (tmp_path / "file").read_bytes() == b"mine" and (tmp_path / "link").is_symlink()


def test_the_longest_name_can_be_written(tmp_path: Path) -> None:
    name = "ä" * 125 + ".json"
    with replacing(tmp_path / name) as temporary:
        temporary.write_bytes(b"text")
    assert [path.name for path in tmp_path.iterdir()] == [name] and is_plain_name(name)


def test_a_state_of_another_shape_is_one_sentence(tmp_path: Path) -> None:
    out = tmp_path / "out"
    unfinished(out)
    checkpoint = out / ".progress" / "checkpoint.npz"
    with np.load(checkpoint) as file:
        meta = file["meta"]
    for arrays in ({"meta": meta}, {"meta": np.array('{"done": -1}')}, {"meta": meta, "state:ids": np.array("x")}, {}):
        with checkpoint.open("wb") as file:
            np.savez(file, **arrays) if arrays else file.write(b"PK\x03\x04 no")
        with pytest.raises(OutputError, match=r"damaged.*`overwrite`"):
            run(out, resume=True)
    assert (out / "masks" / "00000.png").exists()


def test_an_interrupted_run_keeps_every_frame_it_has_done(tmp_path: Path) -> None:
    """Without waiting for the next regular checkpoint."""
    unfinished(tmp_path / "out")
    assert run(tmp_path / "out", resume=True, checkpoint_seconds=1e9).resumed_from == 3
