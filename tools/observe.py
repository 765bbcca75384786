"""`make observe`: a run on this machine, a Prometheus that scrapes it, and the page that draws both, in the browser.

`--once` ends everything when the run is over. Files go to `runs/observe`.
"""

import argparse
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.seaweed import free_ports

HOME = Path("runs/observe")
RULES = Path("helm/trm/rules")
HERE = "127.0.0.1"
PATIENCE = 60.0
"""Seconds that a server gets to start."""
CONFIG = """\
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: {rules}
scrape_configs:
  - job_name: trm
    static_configs:
      - targets: ["{here}:{port}"]
        labels: {{namespace: laptop, run: observe, user: "", pod: observe-0, node: laptop}}
"""


def main(arguments: list[str]) -> int:
    """Start everything, and end everything that was started; return the exit code of the run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="configs/sudoku-4x4.yaml", help="run file")
    parser.add_argument("--once", action="store_true", help="end when the run is over")
    parser.add_argument("--no-open", action="store_true", help="open no browser")
    parser.add_argument("override", nargs="*", metavar="KEY=VALUE", help="keys of the run file to change")
    options = parser.parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda signum, _: sys.exit(128 + signum))
    HOME.mkdir(parents=True, exist_ok=True)
    lock = (HOME / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        say(f"error: somebody observes here already\n  next: end that first, or look at its page ({HOME})")
        return 1
    (port,) = free_ports(1)
    try:
        with prometheus(port) as address, page(address, opened=not options.no_open) as url:
            code = train(options.config, port, [] if options.once else ["train.log.linger_seconds=3"], options.override)
            if not options.once:
                say(f"the run is over; the page stays at {url} until Ctrl-C")
                while True:
                    time.sleep(3600)
    except KeyboardInterrupt:
        return 130
    return code


def train(config: str, port: int, more: list[str], overrides: list[str]) -> int:
    """Run `config` here from a fresh start, its metrics on `port`; return the exit code."""
    runs = HOME / "runs"
    say(f"a fresh run in {runs}; Ctrl-C ends all of it")
    shutil.rmtree(runs, ignore_errors=True)
    keys = [
        f"storage.path={runs}", f"train.log.prometheus_port={port}", f"train.log.prometheus_address={HERE}",
        "train.log.every_steps=5", *more, *overrides,
    ]  # fmt: skip
    command = [sys.executable, "-m", "trmctl", "run", "-c", config, *(part for key in keys for part in ("--set", key))]
    say(f"$ trmctl {' '.join(command[3:])}")
    process = subprocess.Popen(command)  # Ctrl-C reaches it, too: it saves, and is waited for
    try:
        return process.wait()
    except (KeyboardInterrupt, SystemExit):
        process.send_signal(signal.SIGTERM)
        process.wait()
        raise


@contextmanager
def prometheus(port: int) -> Iterator[str | None]:
    """Start a Prometheus with the project's rules for the time of a `with` block; yield its address, None without."""
    program = shutil.which("prometheus")
    if program is None:
        say("no Prometheus is installed (Debian: apt-get install prometheus): the page reads the run's own files alone")
        yield None
        return
    rules = sorted(str(path.resolve()) for path in RULES.glob("*.yaml"))
    config = HOME / "prometheus.yml"
    config.write_text(CONFIG.format(rules=rules, here=HERE, port=port))
    (own,), data = free_ports(1), HOME / "prometheus"
    shutil.rmtree(data, ignore_errors=True)
    command = [
        program, f"--config.file={config}", f"--storage.tsdb.path={data}", f"--web.listen-address={HERE}:{own}",
        "--storage.tsdb.retention.time=1d", "--log.level=warn",
    ]  # fmt: skip
    with running(command):
        address = f"http://{HERE}:{own}"
        wait_for(f"{address}/-/ready")
        say(f"Prometheus answers at {address}; its alerts are at {address}/alerts")
        yield address


@contextmanager
def page(address: str | None, *, opened: bool) -> Iterator[str]:
    """Serve the page for the time of a `with` block; yield where it is."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "trmctl", "dashboard", "--runs", str(HOME / "runs"), "--port", str(port)]
    command += ["--prometheus", address, "--since", "1h"] if address else []
    command += ["--every", "1s", "--open" if opened else "--no-open"]
    with running(command, quiet=True):
        url = f"http://{HERE}:{port}/"
        wait_for(url)
        say(f"the page is at {url}")
        yield url


@contextmanager
def running(command: list[str], *, quiet: bool = False) -> Iterator[None]:
    """Run a program for the time of a `with` block, in a session of its own: Ctrl-C is for the run first."""
    out = subprocess.DEVNULL if quiet else None
    process = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True, env=os.environ)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(url: str) -> None:
    """Wait until a server answers. TimeoutError: it does not."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            if time.monotonic() > until:
                raise TimeoutError(f"{url} does not answer") from None
            time.sleep(0.1)


def say(text: str) -> None:
    """Print a line for the person who watches."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
