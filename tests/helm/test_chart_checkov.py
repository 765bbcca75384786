"""checkov over everything the chart makes: each finding has a reason here, and each reason a finding."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.helm.charts import SITUATIONS, of_situation

DOCTOR, STORE = "Pod.research.trm-doctor", "StatefulSet.research.trm-dev-store"
EXPLAINED: dict[str, tuple[set[str], str]] = {
    "CKV_K8S_8": ({DOCTOR}, "the test is over in seconds, and has a deadline: there is nothing to be alive for"),
    "CKV_K8S_9": ({DOCTOR}, "no traffic goes to the test, so it is never ready for any"),
    "CKV_K8S_15": ({DOCTOR, STORE}, "a tag that is pulled each time is another image each time; a digest is the remedy,"
                                    " and doctor.imagePullPolicy is a value"),
    "CKV_K8S_35": ({DOCTOR, STORE}, "every S3 client takes its credentials from the environment; they are there by"
                                    " reference to a Secret"),
    "CKV_K8S_38": ({DOCTOR}, "the test asks the API server: it is what the token is for, and it may only look"),
    "CKV_K8S_43": ({DOCTOR, STORE}, "digests are values, as in ci/eks-irsa-values.yaml: the images are the user's own"),
}  # fmt: skip
"""Check -> the objects that it finds fault with, and why that is meant to be so."""


def program() -> str | None:
    """Return where checkov is: `TRM_CHECKOV`, or on the path. `make test-full` installs it in a place of its own."""
    return os.environ.get("TRM_CHECKOV") or shutil.which("checkov")


@pytest.mark.full
@pytest.mark.skipif(program() is None, reason="checkov is not there: `make test-full`, or name it in TRM_CHECKOV")
def test_every_finding_is_explained_and_every_explanation_needed(tmp_path: Path) -> None:
    for name in SITUATIONS:
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump_all(of_situation(name)), encoding="utf-8")
    command = [str(program()), "-d", str(tmp_path), "--framework", "kubernetes", "--quiet", "--skip-download"]
    done = subprocess.run([*command, "-o", "json"], capture_output=True, text=True, check=False, cwd=tmp_path)
    found: dict[str, set[str]] = {}
    said = json.loads(done.stdout)
    assert said["summary"]["parsing_errors"] == 0
    assert said["summary"]["resource_count"] > 150
    for check in said["results"]["failed_checks"]:
        found.setdefault(check["check_id"], set()).add(check["resource"])
    assert found == {check: objects for check, (objects, _) in EXPLAINED.items()}
