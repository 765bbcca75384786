"""One screen about a run in a cluster: phase, pods by rank, progress, checkpoint, what was said last. Pure."""

from typing import Any

from trmctl import pods as p
from trmctl.diagnosis.evidence import Evidence, image_of
from trmctl.jobs import when
from trmctl.progress import Stored
from trmctl.times import age
from trmkit.render.names import STORE

LAST_EVENTS = 5
LOSS = 'trm_train_loss{part="total"}'
Fact = tuple[str, str]


def overview(seen: Evidence, stored: Stored | None) -> dict[str, Any]:
    """Return everything there is to say, for programs."""
    job, state = seen.job, seen.state
    return {
        "run": job.key, "job": job.name, "kind": job.kind.kind, "namespace": job.namespace,
        "phase": str(state.phase), "reason": state.reason, "message": state.message, "since": state.since,
        "created": job.created, "queue": job.queue or None, "nodes": job.nodes, "gpus": job.gpus,
        "store": job.annotations.get(STORE), "image": image_of(seen.pods[0]) if seen.pods else None,
        **progress(seen, stored),
        "attempts": len(seen.attempts) or None,
        "pods": [pod_line(seen, pod) for pod in seen.pods],
        "events": [
            {
                "at": when(event), "type": event.get("type") or "Normal", "reason": event.get("reason") or "",
                "object": (event.get("involvedObject") or {}).get("name") or "", "count": event.get("count") or 1,
                "message": event.get("message") or event.get("note") or "",
            }
            for event in seen.events[-LAST_EVENTS:]
        ],
        "notes": list(seen.notes),
    }  # fmt: skip


def progress(seen: Evidence, stored: Stored | None) -> dict[str, Any]:
    """Return how far the run is: what its pods say now, and below it what the store has."""
    known = stored or Stored()
    now = {name: value for numbers in reversed(seen.metrics.values()) for name, value in numbers.items()}
    step = int(now.get("trm_train_step", known.step))
    seconds = now.get("trm_train_step_seconds")
    total = int(now.get("trm_train_total_steps", known.total))
    left = now.get("trm_train_remaining_seconds") or ((total - step) * seconds if seconds and total > step else None)
    return {
        "step": step, "total": total, "step_seconds": seconds, "left_seconds": left,
        "loss": now.get(LOSS), "metric": known.metric or None, "value": known.value,
        "checkpoint": known.checkpoint, "checkpoint_at": known.checkpoint_at,
    }  # fmt: skip


def pod_line(seen: Evidence, pod: dict[str, Any]) -> dict[str, Any]:
    """Return one pod."""
    reason, message = p.waiting(pod)
    ending = p.ending(pod)
    note = "leaving" if p.is_leaving(pod) else p.unscheduled(pod) or (f"{reason}: {message}" if message else reason)
    if not note and ending is not None and ending.exit:
        note = f"exit code {ending.exit}" + (f" ({ending.reason})" if ending.reason else "")
    numbers = seen.metrics.get(p.rank(pod), {})
    return {
        "rank": p.rank(pod), "pod": p.name(pod), "phase": p.phase(pod), "restarts": p.restarts(pod),
        "node": (pod.get("spec") or {}).get("nodeName"), "created": p.seconds(p.about(pod).get("creationTimestamp")),
        "step_seconds": numbers.get("trm_train_step_seconds"), "note": note,
    }  # fmt: skip


def facts(found: dict[str, Any], now: float) -> list[Fact]:
    """Return the overview as names and texts, for people; what is not known is left out."""
    since = f" since {age(now - found['since'])}" if found["since"] else ""
    why = ": ".join(text for text in (found["reason"], found["message"]) if text)
    up = sum(pod["phase"] == "Running" for pod in found["pods"])
    lines = [
        ("run", found["run"]),
        ("job", f"{found['job']} ({found['kind']}) in {found['namespace']}, made {age(now - found['created'])} ago"),
        ("phase", f"{found['phase']}{since}{f' ({why})' if why else ''}"),
        ("pods", f"{up} of {found['nodes']} run" if found["nodes"] else f"{up} run"),
        ("gpus", str(found["gpus"]) if found["gpus"] else ""),
        ("queue", found["queue"] or ""),
        ("progress", _progress(found)),
        ("checkpoint", _checkpoint(found, now)),
        ("attempts", str(found["attempts"] or "")),
        ("store", found["store"] or ""),
        ("image", found["image"] or ""),
    ]
    return [(name, text) for name, text in lines if text]


def _progress(found: dict[str, Any]) -> str:
    if not found["step"] and not found["total"]:
        return ""
    parts = [f"update {found['step']}" + (f" of {found['total']}" if found["total"] else "")]
    if found["step_seconds"]:
        parts.append(f"{found['step_seconds']:.3g} s each")
    if found["left_seconds"]:
        parts.append(f"{age(found['left_seconds'])} left")
    if found["loss"] is not None:
        parts.append(f"loss {found['loss']:.4g}")
    if found["value"] is not None:
        parts.append(f"best {found['metric']} {found['value']:.4f}")
    return ", ".join(parts)


def _checkpoint(found: dict[str, Any], now: float) -> str:
    if found["checkpoint"] is None:
        return ""
    made = f", {age(now - found['checkpoint_at'])} ago" if found["checkpoint_at"] else ""
    return f"of update {found['checkpoint']}{made}"
