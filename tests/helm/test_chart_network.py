"""The network policies, worked out: who reaches whom on which port, and nobody else."""

import copy
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from tests.helm.charts import NAMESPACE, SITUATIONS, Object, of_situation, one, rendered

TRM = {"app.kubernetes.io/name": "trm"}
PODS: dict[str, tuple[str, dict[str, str]]] = {
    "trainer": (NAMESPACE, {**TRM, "app.kubernetes.io/component": "trainer", "trm.dev/run": "a"}),
    "step": (NAMESPACE, {**TRM, "workflows.argoproj.io/workflow": "w"}),
    "doctor": (NAMESPACE, {**TRM, "app.kubernetes.io/component": "doctor"}),
    "controller": (NAMESPACE, {**TRM, "app.kubernetes.io/component": "controller"}),
    "run elsewhere": ("other", {**TRM, "app.kubernetes.io/component": "trainer"}),
    "dev store": (NAMESPACE, {"app.kubernetes.io/name": "trm-dev-store", "app.kubernetes.io/component": "store"}),
    "neighbour": (NAMESPACE, {"app": "web"}),
    "prometheus": ("monitoring", {"app.kubernetes.io/name": "prometheus"}),
    "stranger": ("default", {"app": "web"}),
    "dns": ("kube-system", {"k8s-app": "kube-dns"}),
}
"""Namespace and labels of pods."""
ADDRESSES = {
    "store": "10.20.0.5", "API server": "10.10.0.10", "its Service": "10.96.0.1", "metadata": "169.254.169.254",
    "Pod Identity": "169.254.170.23", "node cache": "169.254.20.10", "internet": "93.184.216.34",
    "v6": "2606:2800:220:1::1",
}  # fmt: skip


def allowed(objects: list[Object], source: str, target: str, port: int, protocol: str = "TCP") -> bool:
    """Say whether a connection is let out where it starts, and in where it ends."""
    policies = [found for found in objects if found["kind"] == "NetworkPolicy"]
    return passes(policies, source, target, port, protocol, "Egress") and passes(
        policies, target, source, port, protocol, "Ingress"
    )


def passes(policies: list[Object], pod: str, other: str, port: int, protocol: str, way: str) -> bool:
    """Say whether the policies about a pod let traffic go one way; where none is about it, everything goes."""
    if pod not in PODS or PODS[pod][0] != NAMESPACE:
        return True
    about = [one["spec"] for one in policies if selects(one["spec"]["podSelector"], PODS[pod][1])]
    about = [spec for spec in about if way in spec["policyTypes"]]
    key, peers = ("egress", "to") if way == "Egress" else ("ingress", "from")
    rules = [rule for spec in about for rule in spec.get(key) or ()]
    return not about or any(
        (not rule.get(peers) or any(is_peer(peer, other) for peer in rule[peers]))
        and (not rule.get("ports") or {"port": port, "protocol": protocol} in rule["ports"])
        for rule in rules
    )


def is_peer(peer: Any, name: str) -> bool:
    """Say whether a peer of a policy means a pod or an address."""
    if "ipBlock" in peer:
        address = ADDRESSES.get(name)
        block = ip_network(peer["ipBlock"]["cidr"])
        inside = address is not None and ip_address(address) in block
        return inside and not any(ip_address(address) in ip_network(one) for one in peer["ipBlock"].get("except", ()))
    if name not in PODS:
        return False
    namespace, labels = PODS[name]
    if "namespaceSelector" in peer:
        fits = selects(peer["namespaceSelector"], {"kubernetes.io/metadata.name": namespace})
    else:
        fits = namespace == NAMESPACE
    return fits and selects(peer.get("podSelector", {}), labels)


def selects(selector: Any, labels: dict[str, str]) -> bool:
    """Say whether a selector means these labels."""
    assert set(selector) <= {"matchLabels", "matchExpressions"}
    assert all(one["operator"] == "Exists" for one in selector.get("matchExpressions", ()))
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items()) and all(
        one["key"] in labels for one in selector.get("matchExpressions", ())
    )


@pytest.mark.parametrize("port", [1, 23456, 29500, 65535])
def test_pods_of_runs_talk_to_each_other_on_any_port(port: int) -> None:
    assert allowed(of_situation("defaults"), "trainer", "trainer", port)


@pytest.mark.parametrize("source", ["stranger", "neighbour", "step", "doctor", "dns"])
def test_nobody_else_reaches_a_run(source: str) -> None:
    for port in (22, 9400, 23456):
        assert not allowed(of_situation("restricted-namespace"), source, "trainer", port)


def test_prometheus_and_the_api_server_reach_the_metrics_and_nothing_else() -> None:
    for situation in ("defaults", "restricted-namespace"):
        objects = of_situation(situation)
        for source in ("prometheus", "API server"):
            assert allowed(objects, source, "trainer", 9400)
            assert not allowed(objects, source, "trainer", 29500)
    assert not allowed(of_situation("no-monitoring"), "prometheus", "trainer", 9400)
    assert not allowed(of_situation("restricted-namespace"), "internet", "trainer", 9400)


@pytest.mark.parametrize("source", ["trainer", "doctor", "step"])
def test_names_are_resolved_and_the_store_is_reached(source: str) -> None:
    objects = of_situation("everything")
    assert allowed(objects, source, "dns", 53, "UDP")
    assert allowed(objects, source, "dns", 53)
    assert allowed(objects, source, "internet", 443)
    assert allowed(objects, source, "v6", 443)
    assert allowed(objects, source, "dev store", 8333)
    assert not allowed(objects, source, "internet", 80)
    assert not allowed(objects, source, "metadata", 443)
    assert not allowed(objects, source, "stranger", 443)


def test_names_are_resolved_by_whoever_does_it_in_this_cluster() -> None:
    """A pod of some namespace, a Service's address, a cache in the machine's network: a chart cannot know which."""
    for name in ("dns", "its Service", "node cache", "stranger"):
        for protocol in ("UDP", "TCP"):
            assert allowed(of_situation("defaults"), "trainer", name, 53, protocol)
    assert not allowed(of_situation("restricted-namespace"), "trainer", "stranger", 53, "UDP")
    assert allowed(of_situation("restricted-namespace"), "trainer", "dns", 53, "UDP")


@pytest.mark.parametrize("situation", SITUATIONS)
def test_no_rule_lets_everything_pass_by_saying_nothing(situation: str) -> None:
    for found in of_situation(situation):
        if found["kind"] == "NetworkPolicy":
            spec = found["spec"]
            for rule in (*(spec.get("ingress") or ()), *(spec.get("egress") or ())):
                within_a_run = found["metadata"]["name"] == "trm-trainer" and "ports" not in rule
                assert rule.get("ports") or within_a_run
                assert rule.get("to") or rule.get("from") or found["metadata"]["name"] == "trm-dns"
                ports = [(one["protocol"], one["port"]) for one in rule.get("ports", ())]
                assert len(ports) == len(set(ports)), "a port is there twice"


def test_a_port_in_the_address_of_the_store_is_let_out() -> None:
    objects = of_situation("restricted-namespace")
    assert allowed(objects, "trainer", "store", 9000)
    assert not allowed(objects, "trainer", "internet", 443)
    plain = rendered({"store": {"endpointUrl": "http://s3.lab.example/x"}})
    assert allowed(plain, "trainer", "store", 80)


def test_who_calls_the_api_server_reaches_it_and_runs_do_not() -> None:
    objects = of_situation("restricted-namespace")
    assert allowed(objects, "doctor", "API server", 6443)
    assert not allowed(objects, "trainer", "API server", 6443)
    assert allowed(of_situation("everything"), "step", "API server", 6443)


def test_the_api_server_is_reached_by_its_service_too_because_some_networks_look_at_that_address() -> None:
    for situation in ("onprem-s3", "restricted-namespace"):
        objects = of_situation(situation)
        assert allowed(objects, "doctor", "its Service", 443)
        assert not allowed(objects, "trainer", "its Service", 443)
    eks = SITUATIONS["eks-irsa"]["networkPolicy"]["apiServer"]
    assert eks == {"cidrs": ["10.0.0.0/16", "172.20.0.1/32"], "ports": [443]}


@pytest.mark.parametrize("situation", ["controller", "controller-second", "everything"])
def test_the_controller_reaches_what_it_works_with_and_prometheus_reaches_it(situation: str) -> None:
    objects = of_situation(situation)
    assert allowed(objects, "controller", "API server", 6443)
    assert allowed(objects, "controller", "dns", 53, "UDP")
    assert allowed(objects, "controller", "trainer", 9400)
    assert allowed(objects, "controller", "internet", 443), "the store"
    assert allowed(objects, "prometheus", "controller", 9401)
    assert allowed(objects, "controller", "run elsewhere", 9400) == (situation == "everything")
    for target, port in (("trainer", 29500), ("neighbour", 80), ("metadata", 80), ("stranger", 443)):
        assert not allowed(objects, "controller", target, port)
    for source in ("stranger", "trainer", "neighbour", "step"):
        assert not allowed(objects, source, "controller", 9401)
    assert not allowed(of_situation("defaults"), "controller", "trainer", 9400), "there is none"


def test_cilium_is_told_of_the_api_server_by_name() -> None:
    objects = of_situation("everything")
    specs = one(objects, "CiliumNetworkPolicy", "trm-api-server")["specs"]
    names = ("trm-trainer", "trm-pipelines", "trm-doctor", "trm-controller")
    plain = [one(objects, "NetworkPolicy", name)["spec"]["podSelector"] for name in names]
    assert [spec["endpointSelector"] for spec in specs] == plain, "the same pods"
    metrics, *callers = specs
    assert metrics["ingress"][0]["toPorts"] == [{"ports": [{"port": "9400", "protocol": "TCP"}]}]
    for spec in callers:
        (rule,) = spec["egress"]
        assert rule["toEntities"] == ["kube-apiserver"]
        assert {entry["port"] for entry in rule["toPorts"][0]["ports"]} == {"443", "6443"}
    assert not [found for found in of_situation("defaults") if found["kind"] == "CiliumNetworkPolicy"]


def test_where_a_cloud_hands_out_roles_is_reached_only_if_it_is_named() -> None:
    for name in ("Pod Identity", "metadata"):
        assert not allowed(of_situation("defaults"), "trainer", name, 80)
    assert allowed(of_situation("everything"), "trainer", "Pod Identity", 80)
    assert not allowed(of_situation("everything"), "trainer", "metadata", 80)


def test_the_trial_store_is_for_runs_and_reaches_nobody() -> None:
    objects = of_situation("everything")
    for source in ("stranger", "neighbour", "prometheus"):
        assert not allowed(objects, source, "dev store", 8333)
    assert not allowed(objects, "trainer", "dev store", 9333)
    for target in ("internet", "dns", "trainer"):
        assert not allowed(objects, "dev store", target, 443)


def test_others_in_the_namespace_are_left_alone_unless_it_is_asked_for() -> None:
    assert allowed(of_situation("defaults"), "stranger", "neighbour", 80)
    assert not allowed(of_situation("restricted-namespace"), "stranger", "neighbour", 80)


def test_without_policies_everything_goes() -> None:
    objects = rendered({"networkPolicy": {"enabled": False}})
    assert allowed(objects, "stranger", "trainer", 22)


def test_the_pods_that_are_rendered_have_the_labels_that_the_policies_select() -> None:
    from tests.trmkit.render.runs import small
    from trmkit.render.objects import render
    from trmkit.render.workflow import pipeline

    def has(labels: dict[str, str], name: str) -> bool:
        wanted = copy.copy(PODS[name][1])
        for key in ("trm.dev/run", "workflows.argoproj.io/workflow"):  # the first is a name, the second is Argo's
            wanted.pop(key, None)
        return wanted.items() <= labels.items()

    job = render(small(), "pytorchjob")[1]
    assert has(job["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]["metadata"]["labels"], "trainer")
    train = render(small(), "trainjob")[1]["spec"]["runtimePatches"][0]["trainingRuntimeSpec"]["template"]["spec"]
    assert has(train["replicatedJobs"][0]["template"]["spec"]["template"]["metadata"]["labels"], "trainer")
    steps = pipeline(small("storage.remote=s3://bucket/x"))[1]["spec"]["podMetadata"]["labels"]
    assert has(steps, "step")
    assert "app.kubernetes.io/component" not in steps
    doctor = next(found for found in of_situation("defaults") if found["kind"] == "Pod")
    assert has(doctor["metadata"]["labels"], "doctor")
