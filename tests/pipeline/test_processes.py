"""Several processes: their averaged gradient is that of one, their shares are disjoint and complete."""

import gzip
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import SMALL, ball, save_scan

from networks import CEVAE, CEVAEObjective
from pipeline.prediction.predicting import predict
from pipeline.processes import gather, joined_processes, share_of_process

WORKER = """
import sys, torch, ignite.distributed as idist
from networks import CEVAE, CEVAEObjective
from pipeline.processes import gather, joined_processes, share_of_process
from torch.nn.parallel import DistributedDataParallel

def work():
    x, x_noisy, z = torch.load(sys.argv[1], weights_only=True)
    torch.manual_seed(0)
    objective = CEVAEObjective(CEVAE(64, 1, (4, 4, 8, 8), 8), ce_weight=float(sys.argv[3]))
    rows = share_of_process(list(range(len(x))))
    torch.randn_like = lambda _: z[rows]
    shared = DistributedDataParallel(objective)
    terms = shared(x[rows], x_noisy[rows])
    (terms.loss.sum() * (idist.get_world_size() / len(x))).backward()
    everyone = gather(rows)
    if idist.get_rank() == 0:
        torch.save({"rows": everyone, "gradient": [p.grad for p in objective.parameters()]}, sys.argv[2])

with joined_processes("cpu"):
    work()
"""


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port: int = free.getsockname()[1]
        return port


def torchrun(*arguments: str, processes: int = 2) -> None:
    port = free_port()
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(processes)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    result = subprocess.run(
        [*command, "--master_port", str(port), *arguments], capture_output=True, text=True, env=environment, timeout=300
    )
    assert result.returncode == 0, result.stderr[-3000:]


@pytest.mark.parametrize(("weight", "slices"), [(0.5, 6), (0.5, 5), (0.0, 4), (1.0, 3), (0.5, 1)])
def test_the_averaged_gradient_is_that_of_one_process(tmp_path: Path, weight: float, slices: int) -> None:
    torch.manual_seed(1)
    x, x_noisy, z = torch.randn(slices, 1, 64, 64), torch.randn(slices, 1, 64, 64), torch.randn(slices, 8, 1, 1)
    torch.save((x, x_noisy, z), tmp_path / "batch.pt")
    (tmp_path / "worker.py").write_text(WORKER)
    torchrun(*(str(tmp_path / name) for name in ("worker.py", "batch.pt", "result.pt")), str(weight))
    result = torch.load(tmp_path / "result.pt", weights_only=True)
    assert sorted(row for rows in result["rows"] for row in rows) == list(range(slices))

    torch.manual_seed(0)
    objective = CEVAEObjective(CEVAE(64, 1, (4, 4, 8, 8), 8), ce_weight=weight)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "randn_like", lambda _: z)
        objective(x, x_noisy).loss.mean().backward()
    for parameter, gradient in zip(objective.parameters(), result["gradient"], strict=True):
        assert parameter.grad is not None
        assert (gradient - parameter.grad).norm() <= 1e-5 * parameter.grad.norm()


def test_without_torchrun_there_is_one_process() -> None:
    with joined_processes("cpu") as device:
        assert device == "cpu"
        assert share_of_process([1, 2, 3]) == [1, 2, 3]
        assert gather("all") == ["all"]


def test_two_processes_train_one_model(cohort: Path, tmp_path: Path) -> None:
    settings = [*SMALL, "keep_best=true"]
    torchrun(
        *("-m", "pipeline", "train", "--data", str(cohort), "--output", str(tmp_path / "run"), "--device", "cpu"),
        *("--set", *settings),
    )
    run = tmp_path / "run"
    assert json.loads((run / "models" / "calibration.json").read_text())["scans"] > 0
    assert pd.read_csv(run / "metrics.csv")["epoch"].tolist() == [1, 2]
    assert len(list((run / "tensorboard").rglob("events*"))) == 2  # one of training, one of validation
    save_scan(tmp_path / "scan.nii.gz", ball())
    (result,) = predict(run, [tmp_path / "scan.nii.gz"], tmp_path / "out", device="cpu")
    assert result.status == "done"


def test_two_processes_share_the_scans_and_give_one_summary(run: Path, tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    for i in range(5):
        save_scan(tmp_path / "scans" / f"scan_{i}.nii.gz", ball(seed=i))
    (tmp_path / "scans" / "scan_3.nii.gz").write_bytes(b"no scan")
    expected = predict(run, [tmp_path / "scans"], tmp_path / "one", device="cpu")
    command = ("-m", "pipeline", "predict", "--model", str(run), "--input", str(tmp_path / "scans"), "--device", "cpu")
    with pytest.raises(AssertionError, match="exitcode"):  # status 1: a scan failed
        torchrun(*command, "--output", str(tmp_path / "two"))
    summaries = [pd.read_csv(tmp_path / name / "summary.csv").drop(columns="seconds") for name in ("one", "two")]
    pd.testing.assert_frame_equal(*summaries)
    assert [result.status for result in expected] == ["done", "done", "done", "failed", "done"]
    assert json.loads((tmp_path / "two" / "run.json").read_text())["failed"] == 1
    for file in (tmp_path / "one").rglob("*.nii.gz"):
        same = gzip.decompress((tmp_path / "two" / file.relative_to(tmp_path / "one")).read_bytes())
        assert same == gzip.decompress(file.read_bytes()), file.name
    assert np.all(summaries[0]["case"] == [f"scan_{i}" for i in range(5)])


def started(rank: int, port: int, *arguments: str) -> "subprocess.Popen[str]":
    """Start one process of two as torchrun does, without its watch over them."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    environment |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    environment |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    return subprocess.Popen([sys.executable, *arguments], env=environment, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("victim", [0, 1])
def test_if_a_process_dies_the_other_sums_up_and_the_same_command_finishes(
    run: Path, tmp_path: Path, victim: int
) -> None:
    scans, output = 12, tmp_path / "out"
    (tmp_path / "scans").mkdir()
    for i in range(scans):
        save_scan(tmp_path / "scans" / f"scan_{i:02d}.nii.gz", ball(seed=i))
    command = ("-m", "pipeline", "predict", "--model", str(run), "--input", str(tmp_path / "scans"))
    port = free_port()
    processes = [started(rank, port, *command, "--output", str(output), "--device", "cpu") for rank in (0, 1)]
    own = [f"scan_{i:02d}" for i in range(victim, scans, 2)]
    deadline = time.monotonic() + 120
    while not any((output / case).exists() for case in own) and time.monotonic() < deadline:
        time.sleep(0.005)
    processes[victim].send_signal(signal.SIGKILL)
    left = processes[1 - victim]
    said = left.communicate(timeout=120)[1]
    processes[victim].communicate(timeout=120)
    assert left.returncode == 1, said
    assert "Traceback" not in said
    assert "error: another process was stopped or has failed" in said
    assert "run the same command again" in said
    done = sum((output / f"scan_{i:02d}").exists() for i in range(scans))
    assert scans // 2 < done < scans  # the other did its whole share
    table = pd.read_csv(output / "summary.csv")
    assert (len(table), (table["status"] == "done").sum()) == (scans, done)
    facts = json.loads((output / "run.json").read_text())
    assert (facts["cases"], facts["interrupted"], facts["running"]) == (scans, True, False)
    results = predict(run, [tmp_path / "scans"], output, device="cpu")
    assert [result.status for result in results] == ["done"] * scans
    assert not list(output.glob(".*"))


def test_the_bundle_trains_with_two_processes(cohort: Path, run: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(run / "configs", bundle / "configs")
    configs = [str(bundle / "configs" / name) for name in ("train.yaml", "multi_gpu_train.yaml")]
    torchrun(
        *("-m", "monai.bundle", "run", "--config_file", str(configs), "--bundle_root", str(bundle)),
        *("--dataset_dir", str(cohort)),
    )
    assert pd.read_csv(bundle / "metrics.csv")["epoch"].tolist() == [1, 2]
    assert (bundle / "models" / "calibration.json").exists()
