"""The shell around the controller: kopf watches, reconnects and hears signals; what is seen only wakes the core.

Handlers of events alone, on purpose: kopf keeps no annotations and sets no finalizers for them. So an object can be
removed while nobody runs, and a missed or repeated event changes nothing.
"""

import logging
from typing import Any

import kopf

from trmctl.cluster import POD, PYTORCHJOB, TRAINJOB, TRMRUN, WORKFLOW
from trmctl.controller.runner import Runner
from trmkit.render import names

OURS = {names.MANAGED_BY: names.MANAGER}
JOBS = (PYTORCHJOB, TRAINJOB, WORKFLOW)
WATCHED = (TRMRUN, *JOBS, POD)
"""Kinds whose changes wake the controller."""
WATCH_SECONDS = 290
"""After so long the server ends a watch, and it is begun anew: one that has gone silent is not waited for for ever."""


def operate(runner: Runner, namespace: str) -> None:
    """Watch a namespace (`*`: all of them) until a signal comes."""
    logging.getLogger("kopf").setLevel(logging.WARNING)
    where: dict[str, Any] = {"clusterwide": True} if namespace == "*" else {"namespaces": [namespace]}
    kopf.run(registry=registry(runner), standalone=True, **where)


def registry(runner: Runner) -> kopf.OperatorRegistry:
    """Return what kopf is to do."""
    found = kopf.OperatorRegistry()

    @kopf.on.login(registry=found)
    def login(settings: kopf.OperatorSettings, **_: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(settings=settings) or kopf.login_with_kubeconfig(settings=settings)

    @kopf.on.startup(registry=found)
    def begin(settings: kopf.OperatorSettings, **_: Any) -> None:
        settings.watching.server_timeout = WATCH_SECONDS
        settings.watching.client_timeout = WATCH_SECONDS + 10
        settings.watching.connect_timeout = 10
        settings.networking.request_timeout = 30
        for kind in JOBS:  # the server is to send no more than the handlers want
            settings.watching.label_selectors[kind.group, kind.version, kind.plural] = names.TRMRUN
        settings.watching.label_selectors["", POD.version, POD.plural] = names.OURS
        settings.posting.enabled = False
        settings.scanning.disabled = True
        runner.start()

    @kopf.on.cleanup(registry=found)
    def end(**_: Any) -> None:
        runner.stop()

    @kopf.on.event(TRMRUN.group, TRMRUN.version, TRMRUN.plural, registry=found)
    def run_seen(namespace: str | None, name: str | None, **_: Any) -> None:
        runner.wake(namespace or "", name or "")

    def job_seen(namespace: str | None, labels: kopf.Labels, **_: Any) -> None:
        runner.wake(namespace or "", labels.get(names.TRMRUN, ""))

    for kind in JOBS:
        watch = kopf.on.event(
            kind.group, kind.version, kind.plural, registry=found, labels={names.TRMRUN: kopf.PRESENT}
        )
        watch(job_seen)

    @kopf.on.event("", POD.version, POD.plural, registry=found, labels=OURS)
    def pod_seen(namespace: str | None, labels: kopf.Labels, **_: Any) -> None:
        runner.job_changed(namespace or "", labels.get(names.JOB, ""))

    return found
