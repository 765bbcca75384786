"""The summary that a Pushgateway gets, and what gateways do to a run: nothing."""

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.trainer.helpers import change, free_port
from tests.trainer.scraping import Samples, break_down, samples, value
from trainer.dist import World
from trainer.serving import serving
from trainer.train import train
from trmkit.errors import SpecError, TrainError
from trmkit.spec.run import RunFile
from trmkit.store.layout import RunDirectory


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[str]:
    """Start a real Pushgateway."""
    program = shutil.which("prometheus-pushgateway") or shutil.which("pushgateway")
    if program is None:
        message = "no Pushgateway is installed: apt-get install prometheus-pushgateway"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    number = free_port()
    process = subprocess.Popen(
        # Debian keeps what is pushed in a file for the next start
        [program, f"--web.listen-address=127.0.0.1:{number}", "--persistence.file="],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{number}"
    until = time.monotonic() + 30
    while True:
        try:
            urllib.request.urlopen(f"{address}/-/ready", timeout=5).close()
            break
        except OSError:
            assert time.monotonic() < until
            time.sleep(0.05)
    yield address
    process.terminate()
    process.wait()


def held(address: str) -> Samples:
    with urllib.request.urlopen(f"{address}/metrics", timeout=5) as page:
        found = samples(page.read().decode())
    return {key: number for key, number in found.items() if key[0].startswith("trm_")}


def test_a_gateway_has_the_summary_until_it_was_scraped_and_that_of_a_failed_run_until_the_next(
    small_run: RunFile, alone: World, gateway: str
) -> None:
    run = change(small_run, f"train.log.pushgateway={gateway}", "train.log.linger_seconds=60")
    directory, seen = RunDirectory.of(run), []

    def look() -> None:
        until = time.monotonic() + 60
        while not seen and time.monotonic() < until:
            seen.extend([found] if (found := held(gateway)) else [])
        os.kill(os.getpid(), signal.SIGTERM)

    watcher = threading.Thread(target=look)
    watcher.start()
    with serving(run, directory, alone) as exporter:
        train(run, directory, alone, exporter)
    watcher.join()
    group = {"job": "trm", "run": f"small-{directory.root.name}", "instance": ""}
    assert value(seen[0], "trm_train_step", **group) == 12
    assert held(gateway) == {}
    broken = change(run, "seed=5", "train.log.linger_seconds=0")
    with pytest.raises(TrainError), serving(broken, RunDirectory.of(broken), alone) as exporter:
        break_down(broken, alone, exporter)
    group["run"] = f"small-{RunDirectory.of(broken).root.name}"
    assert value(held(gateway), "trm_train_nonfinite_total", **group) == 1
    with serving(broken, RunDirectory.of(broken), alone):
        assert held(gateway) == {}


def test_a_gateway_that_is_not_there_is_said_and_ends_nothing(
    small_run: RunFile, alone: World, capsys: pytest.CaptureFixture[str]
) -> None:
    run = change(small_run, f"train.log.pushgateway=http://127.0.0.1:{free_port()}", "train.log.linger_seconds=0")
    with serving(run, RunDirectory.of(run), alone):
        pass
    assert "does not take the summary" in capsys.readouterr().err


def test_a_gateway_that_answers_nonsense_ends_nothing(
    small_run: RunFile, alone: World, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            for _ in range(2):
                client, _ = server.accept()
                with client:
                    client.recv(4096)
                    client.sendall(b"what?\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        run = change(small_run, f"train.log.pushgateway={address}", "train.log.linger_seconds=0")
        with serving(run, RunDirectory.of(run), alone):
            pass
        thread.join()
    assert capsys.readouterr().err.count("does not take the summary") == 2


@pytest.mark.parametrize("address", ["gateway:9091", "ftp://gateway", "http://user:word@gateway:9091", "http://a b"])
def test_an_address_with_a_password_in_it_or_none_at_all_is_refused(small_run: RunFile, address: str) -> None:
    with pytest.raises(SpecError, match=r"train\.log\.pushgateway"):
        change(small_run, f"train.log.pushgateway='{address}'")
