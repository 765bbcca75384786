"""Run files that ask for everything a cluster can give, and for nearly nothing."""

from pathlib import Path
from typing import Any

from trmkit.spec.load import load, loads
from trmkit.spec.run import RunFile

CONFIGS = sorted((Path(__file__).parents[3] / "configs").glob("*.yaml"))
SMALL = """\
name: little
model: {family: trm, hidden_size: 64, num_heads: 4}
data: {source: sudoku-generated, side: 4}
train: {steps: 10, batch_size: 32}
"""
EVERYTHING = """\
storage: {remote: "s3://bucket/trm", endpoint_url: "http://s3.example:8333"}
cluster:
  image: registry.example/trm@sha256:0000000000000000000000000000000000000000000000000000000000000000
  namespace: team-a
  nodes: 2
  gpus_per_node: 8
  cpu: 64
  memory: 512Gi
  ephemeral_storage: 100Gi
  shm: 32Gi
  resources: {rdma/hca_a: "1"}
  queue: research
  priority: high
  fabric: ib
  tolerations: [{key: dedicated, operator: Equal, value: training, effect: NoSchedule}, {operator: Exists}]
  node_selector: {node.kubernetes.io/instance-type: p5.48xlarge}
  service_account: trm-trainer
  image_pull_secrets: [registry]
  env: {NCCL_DEBUG: WARN}
  secret_env: [{name: WANDB_API_KEY, secret: wandb, key: key}]
  storage_secret: trm-s3
  volumes:
  - {kind: pvc, name: sets, mount_path: /sets, claim: sets, sub_path: sudoku, read_only: true}
  - {kind: emptyDir, name: more, mount_path: /more, size_limit: 10Gi, memory: true}
  - {kind: configMap, name: notes, mount_path: /notes, config_map: notes}
  - {kind: secret, name: token, mount_path: /token, secret: token}
  deadline_seconds: 86400
  labels: {team: a}
  annotations: {k8s.v1.cni.cncf.io/networks: rdma-0}
"""
ONLY_PYTORCHJOB: dict[str, Any] = {"gang": "volcano", "priority_class": "high", "spread": "preferred"}


def small(*overrides: str) -> RunFile:
    """Return a small run file, changed by `overrides`."""
    return loads(SMALL, overrides=overrides)


def everything(*overrides: str) -> RunFile:
    """Return a run file that uses every key of `cluster` that both kinds of job can have."""
    return loads(SMALL + EVERYTHING, overrides=overrides)


def many() -> list[tuple[str, RunFile]]:
    """Return run files of every sort, with what they are."""
    fabrics = [(f"fabric {name}", everything(f"cluster.fabric={name}")) for name in ("none", "roce", "efa", "tcpx")]
    shapes = [
        ("one CPU pod", small()),
        ("one GPU", small("cluster.gpus_per_node=1")),
        ("one machine of eight", small("cluster.gpus_per_node=8")),
        ("two CPU pods", small("cluster.nodes=2")),
        ("without limits", small("cluster.shm=null", "cluster.scratch=null", "cluster.ttl_seconds=null")),
        ("everything", everything()),
    ]
    return [*((path.stem, load(path)) for path in CONFIGS), *shapes, *fabrics]
