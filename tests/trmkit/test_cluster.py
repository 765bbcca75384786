"""The `cluster` section."""

import pytest
from pydantic import ValidationError

from trmkit.spec.cluster import ClusterSection, Toleration


def cluster(**values: object) -> ClusterSection:
    return ClusterSection.model_validate(values)


def test_one_process_on_a_cpu_needs_nothing() -> None:
    section = ClusterSection()
    assert (section.nodes, section.gpus_per_node, section.fabric, section.queue) == (1, 0, "none", None)


@pytest.mark.parametrize("value", ["500m", "16Gi", "8", "1.5", "2T"])
def test_a_quantity_is_taken(value: str) -> None:
    assert cluster(memory=value).memory == value


def test_a_number_is_taken_for_a_quantity() -> None:
    assert (cluster(cpu=4).cpu, cluster(cpu=0.5).cpu) == ("4", "0.5")


@pytest.mark.parametrize("value", ["10 GB", "16gi", "-1", "", "Gi", "1e3", True, None, "8\n"])
def test_what_is_no_quantity_is_refused(value: object) -> None:
    with pytest.raises(ValidationError):
        cluster(memory=value)


@pytest.mark.parametrize(
    "values",
    [
        {"namespace": "My-NS"},
        {"image": "my image:1"},
        {"image": ""},
        {"service_account": "a_b"},
        {"labels": {"-a": "b"}},
        {"labels": {"a": "b c"}},
        {"labels": {"A.B/c/d": "x"}},
        {"env": {"A-B": "x"}},
        {"env": {"A": 1}},
        {"volumes": [{"kind": "pvc", "name": "a", "mount_path": "a", "claim": "c"}]},
        {"nodes": 0},
        {"restarts": -1},
    ],
)
def test_what_kubernetes_would_refuse_is_refused_here(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        cluster(**values)


def test_two_volumes_may_not_share_a_name_or_a_path() -> None:
    one = {"kind": "emptyDir", "name": "a", "mount_path": "/a"}
    with pytest.raises(ValidationError, match="volumes: two have the name 'a'"):
        cluster(volumes=[one, {**one, "mount_path": "/b"}])
    with pytest.raises(ValidationError, match="volumes: two have the mount_path '/a'"):
        cluster(volumes=[one, {**one, "name": "b"}])


def test_a_variable_is_given_once() -> None:
    with pytest.raises(ValidationError, match="secret_env: A is given more than once"):
        cluster(env={"A": "x"}, secret_env=[{"name": "A", "secret": "s", "key": "k"}])


def test_a_fast_network_needs_gpus() -> None:
    with pytest.raises(ValidationError, match="fabric: ib needs gpus_per_node"):
        cluster(fabric="ib")
    assert cluster(fabric="ib", gpus_per_node=8).fabric == "ib"


def test_a_toleration_has_a_value_with_equal_alone() -> None:
    assert Toleration(key="gpu", operator="Equal", value="yes").value == "yes"
    with pytest.raises(ValidationError, match="operator: Equal needs"):
        Toleration(key="gpu", operator="Equal")
    with pytest.raises(ValidationError, match="value: only goes with"):
        Toleration(key="gpu", value="yes")
