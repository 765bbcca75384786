"""What it costs to render a thousand runs, and to write them, beside libyaml. Prints CPU seconds and ratios."""

import time
from collections.abc import Callable
from pathlib import Path

import yaml
from common import record

from trmkit.render.objects import render
from trmkit.render.text import write_all
from trmkit.spec.load import load

COUNT = 1000


def seconds(action: Callable[[], object]) -> float:
    """Return the CPU seconds of an action, the least of three."""
    taken = []
    for _ in range(3):
        started = time.process_time()
        action()
        taken.append(time.process_time() - started)
    return min(taken)


def main() -> None:
    run = load(Path(__file__).parents[1] / "configs" / "arc1.yaml")
    jobs = [render(run, "pytorchjob")[1] for _ in range(COUNT)]
    rendering = seconds(lambda: [render(run, "pytorchjob") for _ in range(COUNT)])
    writing = seconds(lambda: [write_all([job]) for job in jobs])
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    libyaml = seconds(lambda: [yaml.dump(job, Dumper=dumper) for job in jobs])
    record("render", f"{COUNT:,} jobs written, to libyaml", [writing], [libyaml])
    print(f"{COUNT} runs rendered, each a ConfigMap and a job: {rendering:.3f} s")
    print(f"{COUNT} jobs written as YAML: {writing:.3f} s, {libyaml / writing:.1f}x of libyaml ({libyaml:.3f} s)")


if __name__ == "__main__":
    main()
