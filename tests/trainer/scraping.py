"""What tests of metrics share: a visitor who scrapes, what he finds, and a training that breaks down."""

import os
import signal
import threading
import time
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

from trainer.dist import StopSignal, World
from trainer.exporter import Exporter
from trainer.subject import subject_of
from trainer.train import Session, build_state
from trmkit.spec.run import RunFile
from trmkit.store.layout import RunDirectory

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(text: str) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scrape(port: int, host: str = "127.0.0.1", path: str = "/metrics") -> str:
    with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=5) as page:
        return str(page.read().decode())


def names(found: Samples) -> set[str]:
    return {name for name, _ in found}


def value(found: Samples, name: str, **labels: str) -> float:
    return found[name, tuple(sorted(labels.items()))]


class Visitor(threading.Thread):
    """Scrapes until a run says that it is over, then sends this process home."""

    def __init__(self, number: int, state: str) -> None:
        super().__init__()
        self._port, self._wanted = number, ("trm_run_state", (("state", state),))
        self.seen: Samples = {}
        self.start()

    def run(self) -> None:
        until = time.monotonic() + 60
        while not self.seen.get(self._wanted) and time.monotonic() < until:
            try:
                self.seen = samples(scrape(self._port))
            except OSError:
                time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)


def break_down(run: RunFile, alone: World, exporter: Exporter) -> None:
    """Train until a weight breaks."""
    subject = subject_of(run)(run, alone)
    state = build_state(run, subject, alone)
    with Session(state, subject, RunDirectory.of(run), StopSignal(), None, None, exporter) as session:
        while True:
            session.update()
            state.model.get_parameter("inner.lm_head.weight").data[0, 0] = float("nan")
