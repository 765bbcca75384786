"""The launcher exits with the code of what happened to its workers."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


def launch(script: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "trainer.launch", "--standalone", "--nproc-per-node", "2", str(script)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("import sys; sys.exit(0)", 0),
        ("import os, sys; sys.exit(2 if os.environ['RANK'] == '1' else 0)", 2),
        ("import os; os.kill(os.getpid(), 9)", 137),
    ],
    ids=["done", "unusable", "killed"],
)
def test_the_exit_code_is_the_workers(tmp_path: Path, body: str, code: int) -> None:
    (tmp_path / "worker.py").write_text(body)
    launched = launch(tmp_path / "worker.py")
    launched.communicate(timeout=60)
    assert launched.returncode == code


def test_a_signal_reaches_the_workers_and_leaves_no_stack_trace(tmp_path: Path) -> None:
    script = tmp_path / "worker.py"
    script.write_text(
        "import signal, sys, time, pathlib\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        "def leave(*_):\n"
        "    (folder / f'left{sys.argv[-1]}').touch()\n"
        "    sys.exit(143)\n"
        "signal.signal(signal.SIGTERM, leave)\n"
        "import os\n"
        "sys.argv.append(os.environ['RANK'])\n"
        "(folder / f'ready{sys.argv[-1]}').touch()\n"
        "time.sleep(60)\n"
    )
    launched = launch(script)
    deadline = time.monotonic() + 60
    while not all((tmp_path / f"ready{rank}").exists() for rank in range(2)):
        assert time.monotonic() < deadline, launched.poll()
        time.sleep(0.05)
    launched.send_signal(signal.SIGTERM)
    _, errors = launched.communicate(timeout=60)
    assert launched.returncode == 143
    assert all((tmp_path / f"left{rank}").exists() for rank in range(2))
    assert "Traceback" not in errors
