"""The chart, in every situation it is made for: what Helm, Kubernetes and the operators say to what it renders."""

import gzip
import os
import shutil
import tarfile
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from tests.helm.charts import (
    CHART,
    SITUATIONS,
    helm,
    names,
    notes,
    of_situation,
    one,
    pods,
    refused_by_kubernetes,
    rendered,
)
from tests.trmkit.render.crds import needs_crds, refusals
from tools.chart import package
from trmctl.cli import cli
from trmkit.render.base import DEFAULTS_KEYS, base
from trmkit.render.check import problems
from trmkit.render.podsecurity import violations

RELEASES = {
    "ClusterTrainingRuntime": ["trainer-v2.3.0"],
    "WorkflowTemplate": ["argo-workflows-v3.7.18", "argo-workflows-v4.1.2-full"],
    "LocalQueue": ["kueue-v0.19.2"],
    "PodMonitor": ["prometheus-operator-v0.93.0"],
    "PrometheusRule": ["prometheus-operator-v0.93.0"],
    "CiliumNetworkPolicy": [],
}
"""Kinds of operators -> the releases whose definitions they are held to. Of Cilium's there is none here."""
SWITCHED_ON = {
    name: {"enabled": True}
    for name in ("pipelines", "podDisruptionBudget", "devStore", "networkPolicy", "doctor", "defaults")
} | {
    "kueue": {"enabled": True, "clusterQueue": "all"},
    "quota": {"hard": {"pods": 5}},
    "controller": {"enabled": True, "crd": {"create": False}, "replicas": 2},
}
"""What every namespace may have for itself."""
every_situation = pytest.mark.parametrize("situation", SITUATIONS)


def test_there_is_a_situation_for_every_promise() -> None:
    promised = {
        "eks-irsa", "onprem-s3", "kueue", "no-monitoring", "restricted-namespace", "air-gapped", "trainjob-only",
        "monitoring", "everything",
    }  # fmt: skip
    assert promised <= set(SITUATIONS)


@every_situation
def test_helm_finds_nothing_wrong(situation: str) -> None:
    said = helm.lint(CHART, SITUATIONS[situation], strict=True, namespace="research")
    assert said["errors"] == said["messages"] == []


@every_situation
@pytest.mark.parametrize("version", ["1.31", "1.37"])
def test_kubernetes_takes_every_object(situation: str, version: str) -> None:
    for found in of_situation(situation):
        if found["kind"] not in RELEASES:
            assert refused_by_kubernetes(found, version) == "", found["metadata"]["name"]


@needs_crds
@every_situation
def test_the_operators_definitions_take_every_object(situation: str) -> None:
    for found in of_situation(situation):
        for release in RELEASES.get(found["kind"], ()):
            assert refusals(found, release) == [], (release, found["metadata"]["name"])


@every_situation
def test_every_pod_passes_the_strictest_level(situation: str) -> None:
    for who, spec in pods(of_situation(situation)):
        assert violations(spec) == [], who
        for container in spec["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, who


@every_situation
def test_nothing_is_taken_that_cannot_work(situation: str) -> None:
    for found in of_situation(situation):
        assert problems(found) == []


@every_situation
def test_every_object_is_there_once_and_says_whose_it_is(situation: str) -> None:
    seen = set()
    for found in of_situation(situation):
        about = found["metadata"]
        key = (found["kind"], about.get("namespace"), about["name"])
        assert key not in seen
        seen.add(key)
        labels = about["labels"]
        assert labels["app.kubernetes.io/managed-by"] == "Helm"
        assert labels["app.kubernetes.io/instance"] == "trm"
        assert labels["helm.sh/chart"].startswith("trm-")


@every_situation
def test_only_who_needs_a_token_gets_one(situation: str) -> None:
    objects = of_situation(situation)
    for found in objects:
        if found["kind"] == "ServiceAccount":
            assert found["automountServiceAccountToken"] is False
    tokens = {who for who, spec in pods(objects) if spec.get("automountServiceAccountToken", True)}
    assert all(who.startswith(("Pod/trm-doctor", "WorkflowTemplate/", "Deployment/trm-controller")) for who in tokens)
    bound = {
        subject["name"] for found in objects if found["kind"].endswith("RoleBinding") for subject in found["subjects"]
    }
    assert "trm-trainer" not in bound


@every_situation
def test_no_rule_of_a_role_has_a_wildcard_or_reads_secrets(situation: str) -> None:
    for found in of_situation(situation):
        for rule in found.get("rules", ()) if found["kind"] in ("Role", "ClusterRole") else ():
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
            assert "secrets" not in rule["resources"]


def test_the_roles_are_those_that_trmctl_renders() -> None:
    for expected in base("research"):
        if expected["kind"] != "ServiceAccount":
            found = one(of_situation("defaults"), expected["kind"], expected["metadata"]["name"])
            assert {key: value for key, value in found.items() if key != "metadata"} == {
                key: value for key, value in expected.items() if key != "metadata"
            }


def test_a_plain_installation_needs_no_operator() -> None:
    assert not {found["kind"] for found in of_situation("defaults")} & set(RELEASES)


def test_releases_in_two_namespaces_share_no_object() -> None:
    values = {**SWITCHED_ON, "monitoring": {"enabled": True, "podMonitor": {"labels": {"a": "b"}}}}
    both = [rendered(values, namespace=name) for name in ("one", "two")]
    seen = [
        {(found["kind"], found["metadata"].get("namespace"), found["metadata"]["name"]) for found in objects}
        for objects in both
    ]
    assert not seen[0] & seen[1]
    assert {namespace for _, namespace, _ in seen[0]} == {"one", None}
    assert not [found for objects in both for found in objects if found["kind"] == "PrometheusRule"]
    assert not [name for objects in both for name in names(objects, "ConfigMap") if name.startswith("trm-dashboard-")]


def test_a_budget_counts_pods_which_is_all_that_kubernetes_can_do_for_jobs() -> None:
    spec = one(of_situation("everything"), "PodDisruptionBudget", "trm-trainer")["spec"]
    assert isinstance(spec["minAvailable"], int)
    assert spec["minAvailable"] > 5000, "more than a cluster has machines"
    assert "maxUnavailable" not in spec


def test_what_argo_reads_between_braces_arrives_as_it_is() -> None:
    from workflows.ladder import ladder_template
    from workflows.pipeline import pipeline_template
    from workflows.sweep import sweep_template

    objects = of_situation("everything")
    for template in (pipeline_template(), sweep_template(), ladder_template()):
        found = one(objects, "WorkflowTemplate", template["metadata"]["name"])
        given = {each["name"]: each.get("value") for each in found["spec"]["arguments"]["parameters"]}
        assert given["image"] == "registry.example/trm:0.1.0"
        assert given["trmctl-image"] == "registry.example/trmctl:0.1.0"
        assert given["notify-secret"] == "webhook"
        assert {**found["spec"], "arguments": template["spec"]["arguments"]} == template["spec"]


def test_the_runtime_is_that_of_the_code_with_the_charts_image() -> None:
    from trmkit.render.runtime import runtime

    found = one(of_situation("everything"), "ClusterTrainingRuntime", "trm")
    expected = runtime("registry.example/trm:0.1.0")
    pod = expected["spec"]["template"]["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    pod["imagePullSecrets"] = [{"name": "registry"}]
    assert found["spec"] == expected["spec"]
    alone = one(of_situation("trainjob-only"), "ClusterTrainingRuntime", "trm")
    job = alone["spec"]["template"]["spec"]["replicatedJobs"][0]
    assert job["template"]["spec"]["template"]["spec"]["priorityClassName"] == "trm-runs"


@every_situation
def test_submit_takes_the_defaults_that_the_chart_writes(situation: str) -> None:
    from trmctl.defaults import parsed

    text = one(of_situation(situation), "ConfigMap", "trm-defaults")["data"]["defaults.yaml"]
    said = parsed(text, "the chart")
    assert all(part.model_fields_set <= set(DEFAULTS_KEYS[name]) for name, part in said.items())
    given = said["cluster"].model_dump(exclude_unset=True)
    assert given["service_account"] == "trm-trainer"
    assert given["image"].endswith((":0.1.0", "01"))


def test_every_image_comes_from_the_registry_of_the_house() -> None:
    for who, spec in pods(of_situation("air-gapped")):
        for container in spec["containers"]:
            assert container["image"].startswith("registry.house.example/mirror/"), who
        assert spec["imagePullSecrets"] == [{"name": "house-registry"}]
    for name in ("trm-trainer", "trm-step", "trm-workflow", "trm-doctor"):
        account = one(of_situation("air-gapped"), "ServiceAccount", name)
        assert account["imagePullSecrets"] == [{"name": "house-registry"}]


def test_a_role_of_the_cloud_is_tied_to_every_account() -> None:
    objects = of_situation("eks-irsa")
    for name in names(objects, "ServiceAccount"):
        annotations = one(objects, "ServiceAccount", name)["metadata"]["annotations"]
        assert annotations["eks.amazonaws.com/role-arn"].endswith("role/trm")
    both = of_situation("everything")
    assert one(both, "ServiceAccount", "trm-trainer")["metadata"]["annotations"]["example.org/role"] == "trm-trainer"
    assert one(both, "ServiceAccount", "trm-step")["metadata"]["annotations"]["example.org/role"] == "trm"


def test_who_may_do_nothing_outside_makes_nothing_outside() -> None:
    outside = {"ClusterRole", "ClusterRoleBinding", "ClusterTrainingRuntime", "PriorityClass"}
    assert not {found["kind"] for found in of_situation("restricted-namespace")} & outside
    assert {found["metadata"]["namespace"] for found in of_situation("restricted-namespace")} == {"research"}


def test_viewer_and_editor_join_the_roles_of_the_cluster() -> None:
    objects, prefix = of_situation("defaults"), "rbac.authorization.k8s.io/aggregate-to-"
    joined = {
        name: {
            label.removeprefix(prefix)
            for label in one(objects, "ClusterRole", f"trm-research-{name}")["metadata"]["labels"]
            if label.startswith(prefix)
        }
        for name in ("viewer", "editor", "doctor")
    }
    assert joined == {"viewer": {"view", "edit", "admin"}, "editor": {"edit", "admin"}, "doctor": set()}
    proxies = {"apiGroups": [""], "resources": ["pods/proxy"], "verbs": ["get"]}
    assert proxies not in one(objects, "ClusterRole", "trm-research-viewer")["rules"]
    assert proxies in one(of_situation("everything"), "ClusterRole", "trm-research-viewer")["rules"]


def test_the_pod_monitor_takes_its_labels_from_the_pods_and_runs_from_its_port() -> None:
    from trmkit.render.names import JOB, OWNER

    monitor = one(of_situation("eks-irsa"), "PodMonitor", "trm")
    assert monitor["metadata"]["labels"]["release"] == "kube-prometheus-stack"
    endpoint = monitor["spec"]["podMetricsEndpoints"][0]
    assert (endpoint["port"], endpoint["interval"]) == ("metrics", "15s")
    sources = {
        rule["targetLabel"]: rule["sourceLabels"][0] for rule in endpoint["relabelings"] if "targetLabel" in rule
    }
    meta = "__meta_kubernetes_pod_label_"
    assert sources["run"] == meta + JOB.replace(".", "_").replace("/", "_")
    assert sources["user"] == meta + OWNER.replace(".", "_").replace("/", "_")
    assert monitor["spec"]["sampleLimit"] == 500


def test_a_test_of_the_release_is_doctor_from_inside() -> None:
    pod = one(of_situation("onprem-s3"), "Pod", "trm-doctor")
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    container = pod["spec"]["containers"][0]
    command = cli.get_command(click.Context(cli), container["command"][1])
    assert command is not None
    options = {name: each for each in command.params for name in each.opts}
    assert {word for word in container["command"] if word.startswith("-")} <= set(options)
    assert options["--store"].envvar == "TRM_STORE"
    assert container["command"] == ["trmctl", "doctor", "--in-cluster"]
    assert "TRM_STORE" not in {entry["name"] for entry in container["env"]}, "it is in the defaults"
    own = one(rendered({**SITUATIONS["onprem-s3"], "defaults": {"enabled": False}}), "Pod", "trm-doctor")
    plain = {entry["name"]: entry.get("value") for entry in own["spec"]["containers"][0]["env"]}
    assert plain["TRM_STORE"] == "s3://models/trm"
    assert plain["AWS_ENDPOINT_URL_S3"] == "https://s3.lab.example:9000"
    once = [entry["name"] for entry in own["spec"]["containers"][0]["env"]]
    assert len(once) == len(set(once)), "a variable of the values is not asked of the Secret, too"


def test_a_test_of_the_release_takes_from_the_secret_what_runs_take() -> None:
    from tests.trmkit.render.runs import small
    from trmkit.render.objects import render

    def hidden(container: Any) -> list[Any]:
        return [entry for entry in container["env"] if "secretKeyRef" in entry.get("valueFrom", {})]

    job = render(small("cluster.storage_secret=trm-s3"), "pytorchjob")[1]["spec"]["pytorchReplicaSpecs"]["Worker"]
    doctor = one(of_situation("onprem-s3"), "Pod", "trm-doctor")["spec"]
    assert hidden(doctor["containers"][0]) == hidden(job["template"]["spec"]["containers"][0])
    assert {"secretKeyRef": {"name": "trm-s3", "key": "AWS_SESSION_TOKEN", "optional": True}} in [
        entry["valueFrom"] for entry in hidden(doctor["containers"][0])
    ]


def test_the_installer_is_told_what_comes_next_and_what_is_off() -> None:
    said = notes({})
    assert "helm test trm -n research" in said
    assert "trmctl doctor -n research" in said
    assert "trmctl submit -c run.yaml -n research" in said
    off = "trainJob pipelines kueue monitoring monitoring.rules monitoring.dashboards"
    for value in (*(f"{name}.enabled" for name in off.split()), "No store"):
        assert value in said
    everything = notes(SITUATIONS["everything"])
    assert "Off, because" not in everything
    assert "No store" not in everything


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"imge": {}}, "imge"),
        ({"image": {"tagg": "1"}}, "tagg"),
        ({"image": {"digest": "sha256:12"}}, "/image/digest"),
        ({"monitoring": {"enabled": "yes"}}, "/monitoring/enabled"),
        ({"monitoring": {"podMonitor": {"interval": "15"}}}, "/monitoring/podMonitor/interval"),
        ({"store": {"remote": "bucket/prefix"}}, "/store/remote"),
        ({"store": {"endpointUrl": "https://key:secret@host"}}, "/store/endpointUrl"),
        ({"store": {"secretKey": "hunter2"}}, "secretKey"),
        ({"networkPolicy": {"apiServer": {"cidrs": []}}}, "/networkPolicy/apiServer/cidrs"),
        ({"networkPolicy": {"store": {"ports": [70000]}}}, "/networkPolicy/store/ports"),
        ({"networkPolicy": {"store": {"peers": []}}}, "/networkPolicy/store/peers"),
        ({"networkPolicy": {"store": {"ports": []}}}, "/networkPolicy/store/ports"),
        ({"networkPolicy": {"dns": {"ports": []}}}, "/networkPolicy/dns/ports"),
        ({"networkPolicy": {"apiServer": {"ports": []}}}, "/networkPolicy/apiServer/ports"),
        ({"networkPolicy": {"credentials": {"ports": []}}}, "/networkPolicy/credentials/ports"),
        ({"priorityClasses": [{"name": "a"}]}, "value"),
        ({"kueue": {"enabled": True}}, "name the ClusterQueue"),
        ({"devStore": {"enabled": True}, "networkPolicy": {"enabled": False}}, "leave networkPolicy.enabled on"),
    ],
)
def test_wrong_values_are_refused_and_say_where(values: dict[str, Any], words: str) -> None:
    with pytest.raises(helm.HelmError) as refused:
        rendered(values)
    assert words in str(refused.value)


def test_the_package_is_the_same_bytes_whenever_and_wherever_it_is_made(tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere" / "trm"
    shutil.copytree(CHART, copy)
    for number, path in enumerate(sorted(copy.rglob("*"))):
        os.utime(path, (1_000_000_000 + number, 1_000_000_000 + number))
        path.chmod(0o700 if path.is_dir() else 0o600)
    first, second = package(CHART, tmp_path / "1").read_bytes(), package(copy, tmp_path / "2").read_bytes()
    assert first == second
    (tmp_path / "trm.tar").write_bytes(gzip.decompress(first))
    with tarfile.open(tmp_path / "trm.tar") as packed:
        inside = packed.getnames()
    assert "trm/values.schema.json" in inside
    assert "trm/files/workflows/trm-pipeline.yaml" in inside
    assert not [name for name in inside if name.startswith(("trm/ci", "trm/dashboards/src", "trm/rules/tests"))]


def test_the_images_that_are_announced_are_those_of_the_values() -> None:
    about = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    from trmkit import __version__

    assert about["version"] == about["appVersion"] == __version__
    announced = {each["image"] for each in yaml.safe_load(about["annotations"]["artifacthub.io/images"])}
    used = {
        container["image"] for _, spec in pods(rendered({"devStore": {"enabled": True}, "trainJob": {"enabled": True}}))
        for container in spec["containers"]
    }  # fmt: skip
    assert announced == used
    changes = yaml.safe_load(about["annotations"]["artifacthub.io/changes"])
    assert all(set(each) == {"kind", "description"} for each in changes)
