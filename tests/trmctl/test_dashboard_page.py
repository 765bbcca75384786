"""The page with the curves of runs: how it looks and feels in a browser, and the same in the terminal."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from tests.trmctl.browser import Page, browser
from tests.trmctl.conftest import Run
from tests.trmctl.dashboard_runs import add, get, site, train_line, write_run
from trmctl.dashboard.local import Local
from trmctl.dashboard.series import PANELS
from trmctl.screens.watcher import LocalWatcher, screen


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with browser() as opened:
        yield opened


CHARTS = "document.querySelectorAll('#panels svg.chart').length"
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.mark.parametrize(("width", "dark"), [(400, False), (1400, False), (400, True), (1400, True)])
def test_the_page_draws_every_panel_wide_and_narrow_light_and_dark(
    tmp_path: Path, page: Page, width: int, dark: bool
) -> None:
    write_run(tmp_path, "demo/0123abcd", 100)
    with site(Local(tmp_path), every=60) as url:
        page.open(url, width, dark=dark)
        assert page.wait(CHARTS) == len(PANELS)
        assert page.ask(OVERFLOW) <= 0
        assert page.ask("getComputedStyle(document.body).backgroundColor") == (
            "rgb(20, 22, 26)" if dark else "rgb(247, 247, 245)"
        )
        text = page.ask("document.body.innerText")
        assert "100 of 100" in text
        assert "answer: wrong" in text
        assert page.ask("document.querySelectorAll('#samples .wrong').length") > 0
        page.picture(tmp_path / "page.png")
        assert page.errors == []
    assert (tmp_path / "page.png").stat().st_size > 20_000


def test_runs_are_overlaid_and_numbers_come_without_a_reload(tmp_path: Path, page: Page) -> None:
    write_run(tmp_path, "demo/0123abcd", 100)
    root = write_run(tmp_path, "other/4567abcd", 40, rate=0.5)
    chosen = "#run=local+demo/0123abcd&run=local+other/4567abcd"
    with site(Local(tmp_path)) as url:
        page.open(f"{url}/{chosen}")
        page.wait("document.querySelectorAll('.tile').length == 2")
        assert page.ask("document.querySelector('#panels .card svg').querySelectorAll('path').length") == 3
        with (root / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(train_line(90, 100, 0.5)) + "\n")
        page.wait("document.body.innerText.includes('90 of 100')")
    page.wait("document.getElementById('news').classList.contains('bad')")  # the server is gone
    page.errors.clear()


def test_the_page_can_be_used_with_the_keyboard_alone(tmp_path: Path, page: Page) -> None:
    write_run(tmp_path, "demo/0123abcd", 100)
    write_run(tmp_path, "other/4567abcd", 50)
    with site(Local(tmp_path), every=0.2) as url:
        page.open(f"{url}/#run=local+demo/0123abcd")
        page.wait(CHARTS)
        for _ in range(3):
            page.press("Tab")
        assert page.ask("document.activeElement.id") == "theme"
        page.press("Tab")  # the run that changed last comes first
        page.press("Enter")
        page.wait("document.querySelectorAll('.tile').length == 2")
        page.wait("document.activeElement.dataset.key?.startsWith('run ')")  # focus outlives a refresh
        for _ in range(3):  # the other run, the switch of the first chart, and the chart
            page.press("Tab")
        page.wait("document.activeElement.dataset.key == 'chart Loss'")
        page.press("d")
        assert page.ask("document.documentElement.dataset.theme") == "dark"
        page.press("t")
        assert page.ask("document.getElementById('axis').getAttribute('aria-pressed')") == "true"
        page.press(" ")
        assert page.ask("document.getElementById('hold').getAttribute('aria-pressed')") == "true"
        page.ask("document.querySelector('[data-key=\"chart Loss\"]').focus()")
        page.press("ArrowLeft")
        assert " at " in page.ask("document.activeElement.parentElement.innerText").replace("\n", " ")
        assert page.errors == []


def test_the_command_says_where_the_page_is_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    import signal
    import subprocess
    import sys

    command = [sys.executable, "-m", "trmctl", "dashboard", "--runs", str(tmp_path), "--port", "0", "--no-open"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    assert get(f"{url}api/runs")[0] == 200
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    process.communicate()


def test_a_run_here_is_watched_in_the_terminal_to_its_end(tmp_path: Path, trmctl: Run) -> None:
    root = write_run(tmp_path, "demo/0123abcd", 50)
    finish = threading.Timer(0.5, lambda: add(root, train_line(100, 100, 0.8)))
    finish.start()
    command = ["watch", "demo", "--here", "--runs", str(tmp_path), "--every", "0.1s"]
    found = trmctl(*command)
    assert found.code == 0
    assert found.out.startswith("demo/0123abcd  training  update 50  loss 0.6554")
    assert "demo/0123abcd  trained  update 100" in found.err
    add(root, {"kind": "stopped", "step": 100, "nonfinite": 1})
    assert trmctl(*command).code == 1
    named = trmctl(*command, "--curve", "train_gradient_norm", "--curve", 'trm_train_loss{part="total"}')
    assert 'train_gradient_norm 3  trm_train_loss{part="total"} 0.2147' in named.err
    wrong = trmctl(*command, "--curve", "train_los")
    assert wrong.code == 2
    assert "did you mean" in wrong.err
    unasked = trmctl(*command[:2], *command[3:])
    assert unasked.code == 1
    assert "because in the cluster" in unasked.err
    missing = trmctl("watch", "nothing", "--here", "--runs", str(tmp_path))
    assert missing.code == 1
    assert "there is no run 'nothing'" in missing.err


@pytest.mark.parametrize("height", [12, 24, 60])
def test_the_terminal_shows_no_more_than_it_has_room_for(tmp_path: Path, height: int) -> None:
    write_run(tmp_path, "demo/0123abcd", 100)
    seen = LocalWatcher(tmp_path, "demo/0123abcd", ()).look()
    with (tmp_path / "screen").open("w") as file:
        console = Console(width=110, height=height, record=True, file=file)
        console.print(screen(seen, 110, height))
    lines = console.export_text().rstrip().splitlines()
    assert len(lines) <= height
    assert lines[0].startswith("demo/0123abcd  trained  update 100  loss")
    assert lines[-2].startswith("time  other 22%  evaluation 19%")
    assert lines[-1] == "test rows right after step  1: 10.0%  2: 20.0%  3: 30.0%  4: 50.0%"
    assert lines[-4].strip()  # the last curve has its lines
