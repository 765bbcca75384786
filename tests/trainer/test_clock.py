"""Where time goes: on a device that works behind the program, too."""

import time

import pytest
import torch

from trainer.clock import MOST_MARKS, Clock
from trmkit.metrics import PHASES


class Device:
    """A device whose work takes as long as it is told, and which is behind by as many marks as it is told."""

    def __init__(self, behind: int = 0) -> None:
        self.now, self.behind, self.made, self.waited = 0.0, behind, 0, 0

    def mark(self) -> "Place":
        self.made += 1
        return Place(self, self.made, self.now)


class Place:
    def __init__(self, device: Device, number: int, at: float) -> None:
        self._device, self._number, self._at = device, number, at

    def query(self) -> bool:
        return self._number <= self._device.made - self._device.behind

    def synchronize(self) -> None:
        self._device.waited += 1
        self._device.behind = 0

    def elapsed_time(self, end: "Place") -> float:
        assert self.query()
        assert end.query()
        return 1000 * (end._at - self._at)


def test_phases_of_a_device_are_what_its_own_queue_says() -> None:
    device = Device(behind=100)
    clock = Clock(device.mark)
    device.now = 1.0
    with clock.phase("forward"):
        device.now = 3.0
        with clock.phase("all_reduce"):
            device.now = 3.5
        device.now = 4.0
    assert device.waited == 0
    assert clock.read() == {**dict.fromkeys(PHASES, 0.0), "other": 1.0, "forward": 2.5, "all_reduce": 0.5}
    device.now = 6.0
    assert clock.read()["other"] == 2.0
    assert sum(clock.read().values()) == 0
    assert device.waited == 3


@pytest.mark.parametrize("behind", [0, 3, MOST_MARKS - 5, 10 * MOST_MARKS])
def test_marks_that_were_passed_are_added_up_without_waiting_and_nothing_is_lost(behind: int) -> None:
    device = Device(behind)
    clock = Clock(device.mark)
    rounds = 3 * MOST_MARKS
    for _ in range(rounds):
        with clock.phase("data"):
            device.now += 0.25
        device.now += 0.125
    assert device.waited == 0
    if behind < MOST_MARKS:
        assert len(clock._marks) <= MOST_MARKS + 1
    found = clock.read()
    assert found["data"] == pytest.approx(0.25 * rounds)
    assert found["other"] == pytest.approx(0.125 * rounds)


def test_on_a_cpu_the_phases_are_the_time_that_has_passed() -> None:
    started = time.perf_counter()
    clock = Clock.of(torch.device("cpu"))
    with clock.phase("data"):
        torch.ones(200, 200) @ torch.ones(200, 200)
    found = clock.read()
    assert 0 < found["data"] < sum(found.values()) <= time.perf_counter() - started
