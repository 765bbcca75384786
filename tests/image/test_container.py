"""The images as a pod runs them: nobody's user, a read-only root, no capabilities, no network.

Needs images and podman or docker: `make image`, then `TRM_TEST_CONTAINERS=podman pytest -m image tests/image`.
`TRM_TEST_RUN_OPTIONS` adds options to `run`, as in `--runtime runc --ulimit host`.
"""

import json
import os
import shlex
import subprocess
import time
from pathlib import Path

import pytest

ENGINE = os.environ.get("TRM_TEST_CONTAINERS", "")
OPTIONS = shlex.split(os.environ.get("TRM_TEST_RUN_OPTIONS", ""))
USER = 10001
pytestmark = [
    pytest.mark.image,
    pytest.mark.skipif(not ENGINE, reason="TRM_TEST_CONTAINERS names no podman or docker"),
]
RUN = """\
name: tiny
model: {family: trm, hidden_size: 32, num_heads: 2, L_layers: 1, puzzle_emb_ndim: 0, puzzle_emb_len: 0}
data: {source: sudoku-generated, side: 4, train_puzzles: 50, test_puzzles: 10, num_aug: 0}
train: {steps: STEPS, batch_size: 8, warmup_steps: 1, threads: 1, checkpoint: {every_steps: 50}}
"""
POD = ["python", "-m", "trainer.launch", "-m", "trainer", "run", "/etc/trm/run.yaml"]
TRAIN = ["python", "-m", "trainer", "train", "/etc/trm/run.yaml"]
ENVIRONMENT = {
    "TRM_JOB": "tiny", "TRM_TERMINATION_LOG": "/tmp/termination", "OMP_NUM_THREADS": "1",
    "PET_NNODES": "1", "PET_NPROC_PER_NODE": "1", "PET_MAX_RESTARTS": "0",
    "PET_RDZV_BACKEND": "c10d", "PET_RDZV_ENDPOINT": "localhost:0", "PET_RDZV_ID": "tiny",
}  # fmt: skip


class Pod:
    """A container as a kubelet would start it, with its volumes."""

    def __init__(self, folder: Path, steps: int) -> None:
        self.folder, self.name = folder, f"trm-test-{os.getpid()}-{folder.name[-12:].strip('-_')}"
        for name in ("etc", "work", "tmp"):
            (folder / name).mkdir()
        for name in ("work", "tmp"):
            os.chown(folder / name, USER, USER)
        (folder / "etc" / "run.yaml").write_text(RUN.replace("STEPS", str(steps)), encoding="utf-8")

    def command(self, image: str, *words: str, entry: str | None = None) -> list[str]:
        """Return what starts it."""
        mounts = {"etc": "/etc/trm:ro", "work": "/scratch", "tmp": "/tmp"}
        return [
            ENGINE, "run", "--rm", "--name", self.name, "--network=none", "--read-only", "--user", f"{USER}:{USER}",
            "--cap-drop=all", "--security-opt=no-new-privileges", *OPTIONS,
            *(word for name, path in mounts.items() for word in ("-v", f"{self.folder / name}:{path}")),
            *(word for name, value in ENVIRONMENT.items() for word in ("-e", f"{name}={value}")),
            *(["--entrypoint", entry] if entry else []), image, *words,
        ]  # fmt: skip

    def checkpoints(self) -> list[Path]:
        """Return the checkpoints it has left."""
        return sorted(self.folder.glob("work/runs/tiny/*/checkpoints/step_*[0-9]"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder that everybody may enter, which pytest's own is not."""
    for path in (tmp_path, *list(tmp_path.parents)[:3]):
        path.chmod(path.stat().st_mode | 0o055)
    return tmp_path


def finished(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_a_tiny_run_goes_from_puzzles_to_its_report(folder: Path) -> None:
    pod = Pod(folder, 100)
    done = finished(pod.command("trm:latest", *POD[1:], entry=POD[0]))
    assert done.returncode == 0, done.stderr
    assert [path.name for path in pod.checkpoints()] == ["step_00000050", "step_00000100"]
    assert list(folder.glob("work/runs/tiny/*/report.html"))


@pytest.mark.parametrize(
    "command", [POD, ["python", "-m", "trainer", "train", "/etc/trm/run.yaml"]], ids=["pod", "train"]
)
def test_sigterm_to_process_1_leaves_a_valid_checkpoint_and_143(folder: Path, command: list[str]) -> None:
    pod = Pod(folder, 1_000_000)
    with subprocess.Popen(pod.command("trm:latest", *command[1:], entry=command[0]), stderr=subprocess.PIPE) as running:
        deadline = time.monotonic() + 120
        while not pod.checkpoints():
            assert running.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        asked = time.monotonic()
        finished([ENGINE, "stop", "-t", "60", pod.name])
        _, said = running.communicate(timeout=60)
    assert time.monotonic() - asked < 30
    assert running.returncode == 143, said
    inside = Path("/scratch") / pod.checkpoints()[-1].relative_to(folder / "work")
    check = (
        f"from pathlib import Path; from trainer.checkpoint import verify; print(verify(Path({str(inside)!r})).step)"
    )
    verified = finished(pod.command("trm:latest", "-c", check, entry="python"))
    assert verified.returncode == 0, verified.stderr
    assert int(verified.stdout) >= 50


def test_nothing_can_be_gained_or_written_and_no_compiler_is_there(folder: Path) -> None:
    script = (
        "import os, shutil, json\n"
        "status = dict(line.split(':', 1) for line in open('/proc/self/status') if ':' in line)\n"
        "def writable(path):\n"
        "    try: open(path + '/x', 'w').close()\n"
        "    except OSError: return False\n"
        "    return True\n"
        "print(json.dumps({'uid': os.getuid(), 'cap': status['CapEff'].strip(), 'new': status['NoNewPrivs'].strip(),\n"
        " 'written': [p for p in ('/', '/opt/trm', '/usr', '/etc', '/scratch', '/tmp') if writable(p)],\n"
        " 'tools': [t for t in ('gcc', 'cc', 'g++', 'pip') if shutil.which(t)]}))\n"
    )
    done = finished(Pod(folder, 1).command("trm:latest", "-c", script, entry="python"))
    assert json.loads(done.stdout) == {
        "uid": USER, "cap": "0000000000000000", "new": "1", "written": ["/scratch", "/tmp"], "tools": [],
    }  # fmt: skip


def test_the_small_image_renders_and_has_no_torch(folder: Path) -> None:
    pod = Pod(folder, 1)
    rendered = finished(pod.command("trmctl:latest", "render", "-c", "/etc/trm/run.yaml"))
    assert rendered.returncode == 0, rendered.stderr
    assert "kind: PyTorchJob" in rendered.stdout
    assert (
        finished(pod.command("trmctl:latest", "-c", "import hera, kubernetes, boto3", entry="python")).returncode == 0
    )
    assert finished(pod.command("trmctl:latest", "-c", "import torch", entry="python")).returncode == 1
