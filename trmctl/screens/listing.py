"""The runs of a cluster and of a store as one list. Pure, but for the two questions at its end."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from trmctl.times import age

if TYPE_CHECKING:
    from trmctl.cluster import Cluster
    from trmctl.jobs import Job
    from trmkit.spec.storage import StorageSection

Row = dict[str, Any]
Samples = dict[str, tuple[int, float]]
"""Run -> update and time that were seen before; two of them are a speed."""


def stored_rows(options: "StorageSection") -> list[Row]:
    """Return the runs in a store, those that last said something first."""
    from trmctl.stores import ask, opened
    from trmkit.store.catalog import runs

    store = opened(options)
    return [
        {
            "run": run.key, "name": run.name, "state": run.state, "step": run.step, "total": run.total,
            "metric": run.metric or None, "value": run.value, "updated": run.modified,
        }
        for run in ask(lambda: runs(store))
    ]  # fmt: skip


def cluster_rows(jobs: Sequence["Job"]) -> list[Row]:
    """Return the runs in a cluster."""
    rows = []
    for job in jobs:
        state = job.state()
        rows.append(
            {
                "run": job.key if job.run_id and not job.beside else job.name, "name": job.run_name or job.name,
                "state": str(state.phase), "step": 0, "total": 0, "metric": None, "value": None,
                "updated": state.since or job.created, "job": job.name, "kind": job.kind.kind,
                "namespace": job.namespace, "reason": state.reason, "gpus": job.gpus, "created": job.created,
                "finished": state.finished,
            }
        )  # fmt: skip
    return rows


def join(cluster: Sequence[Row], store: Sequence[Row], before: Samples) -> list[Row]:
    """Return every run once: its phase from the cluster, its progress from the store, and how long it will take.

    Of jobs with the same run, the newest counts; of a run that is only stored, there is no phase but its last state.
    """
    known: dict[str, Row] = {row["run"]: row for row in store}
    joined: list[Row] = []
    seen: set[str] = set()
    for row in cluster:
        if row["run"] in seen and row["kind"] != "Workflow":
            continue
        seen.add(row["run"])
        stored: Row = known.get(row["run"], {})
        progress: Row = {
            name: stored[name] for name in ("step", "total", "metric", "value", "updated") if name in stored
        }
        found: Row = {**row, **progress}
        joined.append({**found, "left": None if row["finished"] else left(found, before)})
    rest = [row for row in store if row["run"] not in seen]
    return sorted(joined, key=lambda row: row["finished"]) + rest


def left(row: Row, before: Samples) -> float | None:
    """Return about how many seconds a run still takes; None: that cannot be said.

    The first time its speed is that since the job was made; afterwards that since it was last looked at.
    """
    step, total, updated = int(row["step"]), int(row["total"]), float(row["updated"])
    first, since = before.get(str(row["run"]), (0, float(row["created"])))
    if not total or step <= first or updated <= since or row["state"] != "Running":
        return None
    return (total - step) * (updated - since) / (step - first)


def samples(rows: Sequence[Row], before: Samples) -> Samples:
    """Return what to compare with the next time: the first that was seen of each run."""
    now: Samples = {row["run"]: (row["step"], row["updated"]) for row in rows if row["step"]}
    return now | before


def lines(rows: Sequence[Row], now: float, *, wide: bool, cluster: bool) -> tuple[list[str], list[list[str]]]:
    """Return header and cells of the table."""
    header = ["RUN", "STATE", "STEP", "BEST", "AGE"]
    header += ["LEFT", "GPUS"] if cluster else []
    header += ["METRIC", "UPDATED"] if wide else []
    header += ["JOB", "KIND", "NAMESPACE", "REASON"] if wide and cluster else []
    return header, [_cells(row, now, wide=wide, cluster=cluster) for row in rows]


def _cells(row: Row, now: float, *, wide: bool, cluster: bool) -> list[str]:
    import time

    total = f"/{row['total']}" if row["total"] else ""
    value = "" if row["value"] is None else f"{row['value']:.4f}"
    step = f"{row['step']}{total}" if row["step"] or total or "job" not in row else ""
    since = row["created"] if "created" in row else row["updated"]
    cells = [row["run"], row["state"], step, value, age(now - since)]
    if cluster:
        cells += [f"~{age(row['left'])}" if row.get("left") else "", str(row.get("gpus") or "")]
    if wide:
        cells += [row["metric"] or "", time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row["updated"]))]
        if cluster:
            cells += [row.get("job", ""), row.get("kind", ""), row.get("namespace", ""), row.get("reason", "")]
    return cells


def jobs_of(cluster: "Cluster", everywhere: bool) -> "list[Job]":
    """Return the jobs of a namespace or of all."""
    from trmctl.jobs import jobs

    return jobs(cluster, "*" if everywhere else None)


def publisher(jobs: Sequence["Job"]) -> "Job | None":
    """Return the newest job that publishes to the store that most of the jobs publish to."""
    from collections import Counter

    from trmctl.progress import address

    places = [(place[0], job) for job in jobs if (place := address(job)) is not None]
    common = Counter(place for place, _ in places).most_common(1)
    return next((job for place, job in places if place == common[0][0]), None)
