"""A run as an Argo workflow: a small object that names a WorkflowTemplate and gives it the run's parameters.

The templates are made in `workflows/`, with Hera. What a run file asks of the pods of each step goes there as a patch,
so one template serves every run.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from trmkit import __version__
from trmkit.errors import SpecError
from trmkit.ladder import Rung, settings
from trmkit.render.names import JOB, SPEC_HASH, VERSION, NamedRun
from trmkit.render.objects import configmap, content_hash, job_metadata
from trmkit.render.pod import container, given, pod_spec
from trmkit.spec.run import RunFile
from trmkit.stages import STAGES, stages_of

API_VERSION = "argoproj.io/v1alpha1"
PIPELINE, SWEEP, LADDER = "trm-pipeline", "trm-sweep", "trm-ladder"
"""Names of the WorkflowTemplates."""
RUN, IMAGE, TRMCTL_IMAGE, NOTIFY_SECRET, ARTIFACTS = "run", "image", "trmctl-image", "notify-secret", "artifacts"
READS_TEXT = "reads-text"
"""Parameter of a pipeline: `true` for a run that has the stage features."""
POINTS, VARIANTS, SEEDS = "points", "variants", "seeds"
"""Parameters of the templates."""
MOST_POINTS = 1000
SCHEDULE = re.compile(r"(TZ=\S+ )?(@(yearly|annually|monthly|weekly|daily|midnight|hourly|every \S+)|(\S+\s+){4}\S+)")
"""What Argo takes as a schedule, roughly: five fields, or a word."""


def patch(stage: str) -> str:
    """Return the name of the parameter with what the run file asks of the pods of a stage."""
    return f"{stage}-pod"


def for_pipeline(run: RunFile) -> RunFile:
    """Return the run file of a pipeline, whose steps meet in the store. SpecError: it names none."""
    if run.storage.remote is None:
        raise SpecError(
            "storage.remote: a pipeline's steps run in different pods, and hand each other data and checkpoints there",
            next="--set storage.remote=s3://<bucket>/<prefix>",
        )
    return run.model_copy(update={"storage": run.storage.model_copy(update={"publish_data": True})})


def pipeline(run: RunFile, *, namespace: str | None = None, artifacts: bool = False) -> list[dict[str, Any]]:
    """Return the objects of a run as a pipeline: ConfigMap and Workflow. SpecError: the run has no store.

    `artifacts` hands the results to the cluster's artifact repository, too.
    """
    named = NamedRun.of(for_pipeline(run))
    own = {**steps_of(named), **({ARTIFACTS: "true"} if artifacts else {})}
    return together(named, workflow(named, pipeline_name(named.job), PIPELINE, own, namespace))


def pipeline_name(job: str) -> str:
    """Return the name of the pipeline of a run whose job is called `job`."""
    return f"{job}-pipeline"


def steps_of(named: NamedRun) -> dict[str, str]:
    """Return the parameters that say which steps there are, and what each asks of its pod; some only follow a job."""
    pods = {patch(stage.name): json.dumps(pod_patch(named, stage.name)) for stage in STAGES if not stage.is_job}
    reads = any(stage.name == "features" for stage in stages_of(named.run))
    return {**pods, **({READS_TEXT: "true"} if reads else {})}


def cron(run: RunFile, schedule: str, *, namespace: str | None = None) -> list[dict[str, Any]]:
    """Return the objects of a pipeline that starts by the clock: ConfigMap and CronWorkflow; one at a time.

    SpecError: the schedule is none. The name leaves Argo room for the time it puts behind it.
    """
    if not SCHEDULE.fullmatch(schedule.strip()):
        raise SpecError(f"{schedule!r} is not a schedule", next="as in '0 3 * * *': minute, hour, day, month, weekday")
    named = NamedRun.of(for_pipeline(run))
    once = workflow(named, f"{named.job}-cron", PIPELINE, steps_of(named), namespace)
    again = {
        "apiVersion": API_VERSION,
        "kind": "CronWorkflow",
        "metadata": once["metadata"],
        "spec": {
            "schedules": [schedule],
            "concurrencyPolicy": "Forbid",
            "workflowSpec": once["spec"],
            "workflowMetadata": {"labels": once["metadata"]["labels"]},
        },
    }
    return together(named, again)


def sweep(
    run: RunFile, points: Sequence[Sequence[str]], *, parallel: int, namespace: str | None = None
) -> list[dict[str, Any]]:
    """Return the objects of a sweep: the run file, and a Workflow that trains it once for each of `points`.

    A point is a list of `KEY=VALUE`. SpecError: the run has no store, or there are too many points.
    """
    return _fan_out(run, points, SWEEP, "sweep", {}, parallel, namespace)


def ladder(run: RunFile, rungs: Sequence[Rung], *, parallel: int, namespace: str | None = None) -> list[dict[str, Any]]:
    """Return the objects of a ladder: the run file, and a Workflow that trains every rung and writes the answer.

    SpecError: the run has no store, or there are too many rungs.
    """
    variants, seeds = (list(dict.fromkeys(values)) for values in zip(*rungs, strict=True))
    own = {VARIANTS: ",".join(variants), SEEDS: str(len(seeds))}
    return _fan_out(run, [settings(rung) for rung in rungs], LADDER, "ladder", own, parallel, namespace)


def _fan_out(
    run: RunFile, points: Sequence[Sequence[str]], template: str, word: str, more: Mapping[str, str], parallel: int,
    namespace: str | None,
) -> list[dict[str, Any]]:  # fmt: skip
    named = NamedRun.of(for_pipeline(run))
    if not 0 < len(points) <= MOST_POINTS:
        raise SpecError(f"a {word} has 1 to {MOST_POINTS} points, not {len(points)}")
    text = json.dumps([json.dumps(list(point)) for point in points])
    own = {POINTS: text, patch("report"): json.dumps(pod_patch(named, "report")), **more}
    found = workflow(named, f"{named.job}-{word}-{content_hash([{POINTS: text}])[:6]}", template, own, namespace)
    found["spec"]["parallelism"] = parallel
    return together(named, found)


def workflow(
    named: NamedRun, name: str, template: str, own: Mapping[str, str], namespace: str | None
) -> dict[str, Any]:
    """Return a Workflow that runs a template with the run's parameters, and `own` ones."""
    cluster, about = named.run.cluster, job_metadata(named, namespace)
    images = given(**{IMAGE: cluster.image, TRMCTL_IMAGE: cluster.trmctl_image})
    labels = {**named.labels, JOB: name}
    return {
        "apiVersion": API_VERSION,
        "kind": "Workflow",
        "metadata": {**about, "name": name, "labels": labels},
        "spec": {
            "workflowTemplateRef": {"name": template},
            "arguments": {
                "parameters": [{"name": key, "value": value} for key, value in {RUN: name, **images, **own}.items()]
            },
            "podMetadata": {
                "labels": labels,
                "annotations": {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"},
            },
            **given(
                ttlStrategy=given(secondsAfterCompletion=cluster.ttl_seconds),
                imagePullSecrets=[{"name": secret} for secret in cluster.image_pull_secrets],
            ),
        },
    }


def together(named: NamedRun, found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the ConfigMap, which has the workflow's name, and the workflow, both with the hash of what they are."""
    about = {key: value for key, value in found["metadata"].items() if key != "annotations"}
    config = configmap(named.run, about)
    digest = content_hash([config, found])
    for one in (config, found):
        old = one["metadata"].get("annotations", {})
        one["metadata"]["annotations"] = {SPEC_HASH: digest, VERSION: __version__, **old}
    return [config, found]


def pod_patch(named: NamedRun, stage: str) -> dict[str, Any]:
    """Return what the run file asks of a step's pod, as a strategic merge patch; only `evaluate` gets GPUs."""
    accelerated = next(one.accelerated for one in STAGES if one.name == stage)
    cluster = named.run.cluster.model_copy(
        update={"nodes": 1, "fabric": "none", **({} if accelerated else {"gpus_per_node": 0})}
    )
    alone = NamedRun(named.run.model_copy(update={"cluster": cluster}), named.id, named.job)
    whole = container(alone, "main", (), {})
    spec = pod_spec(alone, whole)
    of_the_template = ("run-file", "work", "tmp")
    kept = ("tolerations", "nodeSelector", "priorityClassName", "terminationGracePeriodSeconds")
    return {
        **{key: spec[key] for key in kept if key in spec},
        "containers": [
            {
                "name": "main",
                "imagePullPolicy": whole["imagePullPolicy"],
                "env": [entry for entry in whole["env"] if entry["name"] not in ("TRM_JOB", "TRM_METRICS_PORT")],
                "resources": whole["resources"],
                "volumeMounts": [one for one in whole["volumeMounts"] if one["name"] not in of_the_template],
            }
        ],
        "volumes": [one for one in spec["volumes"] if one["name"] not in of_the_template],
    }
