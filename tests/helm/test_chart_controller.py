"""The controller of TrmRun in the chart: its pod, what it may do, and a definition that outlives the release."""

from typing import Any

import click
import pytest

from tests.helm.charts import SITUATIONS, Object, names, notes, of_situation, one, rendered
from trmctl.cli import cli
from trmctl.controller.lease import ASKED
from trmctl.controller.runner import LEAVES
from trmkit import controller_metrics
from trmkit.render.base import CONTROLLER, CONTROLLER_ACCOUNT, CONTROLLER_LEASE, as_rules, named
from trmkit.render.crd import NAME, definition

OURS: dict[str, Any] = {"controller": {"enabled": True}}


def rules(objects: list[Object], kind: str, name: str) -> list[dict[str, Any]]:
    """Return the rules of a role."""
    found: list[dict[str, Any]] = one(objects, kind, name)["rules"]
    return found


def container(objects: list[Object]) -> dict[str, Any]:
    """Return the container of the controller."""
    (found,) = one(objects, "Deployment", CONTROLLER_ACCOUNT)["spec"]["template"]["spec"]["containers"]
    return dict(found)


LEASE = named(CONTROLLER_LEASE, "trm-controller")


def test_nobody_gets_it_who_does_not_ask() -> None:
    objects = of_situation("defaults")
    assert not {"Deployment", "CustomResourceDefinition"} & {found["kind"] for found in objects}
    assert CONTROLLER_ACCOUNT not in names(objects, "ServiceAccount") | names(objects, "Role")
    assert "controller.enabled" in notes({})


def test_in_one_namespace_its_rights_are_of_that_namespace() -> None:
    objects = rendered(OURS)
    assert rules(objects, "Role", CONTROLLER_ACCOUNT) == [*as_rules(CONTROLLER), *LEASE]
    bound = one(objects, "RoleBinding", CONTROLLER_ACCOUNT)
    assert bound["subjects"] == [{"kind": "ServiceAccount", "name": CONTROLLER_ACCOUNT, "namespace": "research"}]
    assert not [name for name in names(objects, "ClusterRoleBinding") if name.endswith("controller")]
    assert container(objects)["command"][2:4] == ["--namespace", "research"]


def test_for_the_whole_cluster_it_has_a_cluster_role_and_a_lease_of_its_own_namespace() -> None:
    objects = rendered({"controller": {"enabled": True, "clusterWide": True}})
    assert rules(objects, "ClusterRole", "trm-research-controller") == as_rules(CONTROLLER)
    bound = one(objects, "ClusterRoleBinding", "trm-research-controller")
    assert bound["subjects"][0]["name"] == CONTROLLER_ACCOUNT
    assert rules(objects, "Role", CONTROLLER_ACCOUNT) == LEASE
    assert "leases" not in str(rules(objects, "ClusterRole", "trm-research-controller"))
    assert container(objects)["command"][2] == "--all-namespaces"


def test_it_touches_no_lease_but_its_own() -> None:
    about = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"]}
    own = {**about, "verbs": ["get", "patch"], "resourceNames": ["trm-controller"]}
    assert [{**about, "verbs": ["create"]}, own] == LEASE


def test_it_is_given_longer_to_leave_than_it_takes() -> None:
    pod = one(rendered(OURS), "Deployment", CONTROLLER_ACCOUNT)["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > LEAVES + ASKED


def test_it_never_reads_secrets_and_has_no_wildcard() -> None:
    for _, resources, verbs in CONTROLLER:
        assert "secrets" not in resources
        assert "*" not in resources + verbs


def test_it_lives_and_is_ready_by_what_it_says_itself() -> None:
    found = container(rendered(OURS))
    assert found["command"][:2] == ["trmctl", "controller"]
    assert found["command"][4:] == ["--resync", "60", "--port", "9401", "--log-format", "json"]
    assert found["ports"] == [{"name": "metrics", "containerPort": 9401}]
    assert found["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "metrics"}
    assert found["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "metrics"}


def test_it_reads_the_store_with_the_credentials_that_helm_test_has() -> None:
    for values in (SITUATIONS["onprem-s3"], {**SITUATIONS["onprem-s3"], "defaults": {"enabled": False}}):
        objects = rendered({**values, **OURS})
        (doctor,) = one(objects, "Pod", "trm-doctor")["spec"]["containers"]
        assert container(objects)["env"] == doctor["env"]
        assert "AWS_SECRET_ACCESS_KEY" in {entry["name"] for entry in doctor["env"]}


def test_where_it_runs_can_be_said_and_only_several_have_a_budget() -> None:
    spec = one(of_situation("controller"), "Deployment", CONTROLLER_ACCOUNT)["spec"]
    pod = spec["template"]["spec"]
    assert spec["replicas"] == 2
    assert pod["nodeSelector"] == {"kubernetes.io/os": "linux"}
    assert pod["tolerations"] == [{"key": "dedicated", "operator": "Exists"}]
    assert pod["affinity"]["podAntiAffinity"]
    assert pod["priorityClassName"] == "system-cluster-critical"
    budget = one(of_situation("controller"), "PodDisruptionBudget", CONTROLLER_ACCOUNT)["spec"]
    labels = spec["template"]["metadata"]["labels"]
    assert budget["maxUnavailable"] == 1
    assert budget["selector"] == spec["selector"]
    assert spec["selector"]["matchLabels"].items() <= labels.items()
    assert names(rendered(OURS), "PodDisruptionBudget") == set()


def test_the_definition_is_that_of_the_code_and_helm_keeps_it() -> None:
    found = one(rendered(OURS), "CustomResourceDefinition", NAME)
    assert found["spec"] == definition()["spec"]
    annotations = found["metadata"]["annotations"]
    assert annotations["helm.sh/resource-policy"] == "keep"
    assert definition()["metadata"]["annotations"].items() <= annotations.items()
    assert "namespace" not in found["metadata"]
    assert "definition of TrmRun" in notes(OURS)


def test_an_upgrade_brings_the_definition_and_a_second_release_leaves_it_to_the_first() -> None:
    assert NAME in names(rendered(OURS, upgrade=True), "CustomResourceDefinition")
    second = of_situation("controller-second")
    assert names(second, "CustomResourceDefinition") == set()
    assert CONTROLLER_ACCOUNT in names(second, "Deployment")


def test_prometheus_scrapes_it_and_leaves_its_own_namespaces_alone() -> None:
    monitor = one(of_situation("controller"), "PodMonitor", CONTROLLER_ACCOUNT)
    labels = one(of_situation("controller"), "Deployment", CONTROLLER_ACCOUNT)["spec"]["template"]["metadata"]["labels"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint["honorLabels"] is True
    assert endpoint["port"] == "metrics"
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    trainers = one(of_situation("controller"), "PodMonitor", "trm")["spec"]["selector"]["matchLabels"]
    assert not trainers.items() <= labels.items()


@pytest.mark.parametrize(
    "wrong", [{"replicas": 0}, {"resyncSeconds": 1}, {"logFormat": "xml"}, {"crds": True}, {"enabled": "yes"}]
)
def test_values_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(Exception, match="controller"):
        rendered({"controller": {"enabled": True, **wrong}})


def test_the_command_of_its_pod_is_one_that_trmctl_has() -> None:
    for values in (OURS, {"controller": {"enabled": True, "clusterWide": True}}):
        words = container(rendered(values))["command"]
        command = cli.get_command(click.Context(cli), words[1])
        assert command is not None
        options = {name: each for each in command.params for name in each.opts}
        assert {word for word in words if word.startswith("--")} <= set(options)
        context = command.make_context("controller", words[2:])
        assert context.params["port"] == controller_metrics.PORT
        assert context.params["resync"] == 60


def test_what_it_counts_is_what_the_table_says() -> None:
    from trmctl.controller.metrics import Metrics

    made = list(Metrics().registry.collect())
    found = {one.name + ("_total" if one.type == "counter" else ""): one.type for one in made}
    assert found == {one.name: one.type for one in controller_metrics.TABLE}
    text = {label for one in controller_metrics.TABLE for label in one.labels}
    assert text == set(controller_metrics.LABELS)
