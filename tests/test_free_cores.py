"""Threads beside other programs: as many as there are free cores, asleep soon while they wait."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from hodor_cli.bench.stages import contended
from hodor_cli.runtime import free_cores
from hodor_cli.runtime.free_cores import FreeCores, Used, threads_beside
from hodor_cli.runtime.threads import wait_briefly


@pytest.mark.parametrize(
    ("others", "cores", "most", "threads"),
    [(0.0, 2, 2, 2), (0.3, 2, 2, 2), (0.5, 2, 2, 1), (1.9, 2, 2, 1), (4.0, 16, 16, 12), (0.0, 16, 4, 4)],
)
def test_others_keep_their_cores(others: float, cores: int, most: int, threads: int) -> None:
    assert threads_beside(others, cores, most) == threads


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, float]]:
    """A machine of four cores whose clock and other programs the test decides."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    state = {"clock": 100.0, "others": 0.0, "waited": 0.0}
    monkeypatch.setattr(free_cores, "usable_cores", lambda: 4)
    monkeypatch.setattr("time.monotonic", lambda: state["clock"])
    monkeypatch.setattr(
        Used,
        "now",
        lambda: Used(state["clock"], 4 * state["clock"] + state["others"], 4 * state["clock"], state["waited"]),
    )
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield state
    torch.set_num_threads(before)


def test_threads_follow_what_other_programs_use(machine: dict[str, float]) -> None:
    with FreeCores() as cores:
        machine["clock"] += 0.1
        machine["others"] += 0.2
        cores.adjust()
        assert torch.get_num_threads() == 4, "a moment says nothing yet"
        machine["clock"] += 1.9
        machine["others"] += 3.8
        machine["waited"] += 3.8
        cores.adjust()
        assert torch.get_num_threads() == 2
        machine["clock"] += 1
        cores.adjust()
        assert torch.get_num_threads() == 4, "the other programs have ended"
        machine["clock"] += 1
        machine["others"] += 9
        machine["waited"] += 9
        cores.adjust()
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 4


def test_work_of_low_priority_takes_no_thread_away(machine: dict[str, float]) -> None:
    with FreeCores() as cores:
        machine["clock"] += 1
        machine["others"] += 2
        machine["waited"] += 0.1
        cores.adjust()
        assert torch.get_num_threads() == 4, "nothing waited for a core"


def test_a_number_of_threads_that_the_user_set_stays(
    machine: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    with FreeCores() as cores:
        machine["clock"] += 1
        machine["others"] += 3
        cores.adjust()
        assert torch.get_num_threads() == 4


def test_a_system_that_does_not_tell_changes_nothing(
    machine: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    with FreeCores() as cores:
        monkeypatch.setattr(Used, "now", lambda: None)
        machine["clock"] += 1
        cores.adjust()
        cores.adjust()
        assert torch.get_num_threads() == 4


def test_this_system_tells_what_is_used() -> None:
    first = Used.now()
    if first is None:
        pytest.skip("this system does not tell what its cores do")
    sum(range(2_000_000))
    second = Used.now()
    assert second is not None
    assert second.clock > first.clock and second.by_us > first.by_us and second.by_all >= first.by_all


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"])
def test_threads_wait_as_the_user_wants(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.environ", environ := {})
    wait_briefly()
    assert 0 < int(environ["GOMP_SPINCOUNT"]) < 10_000 and environ["KMP_BLOCKTIME"] == "0"
    monkeypatch.setattr("os.environ", own := {name: "7"})
    wait_briefly()
    assert own == {name: "7", "OPENCV_FOR_THREADS_NUM": "1"}
    monkeypatch.setattr("os.environ", own := {"OPENCV_FOR_THREADS_NUM": "2"})
    wait_briefly()
    assert own["OPENCV_FOR_THREADS_NUM"] == "2"


def test_speed_beside_busy_processes_is_a_share_of_that_alone() -> None:
    speeds = iter([10.0, 4.0, 20.0, 8.0])
    assert contended(lambda: next(speeds), 1) == {"processes": 1, "alone": 15.0, "beside": 6.0, "share": 0.4}
