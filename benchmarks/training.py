"""How close the training loop comes to the speed of its network: the real loop beside a bare one, with the same network
and batch.

The real loop is `CEVAETrainer` as in train.yaml: mapped slices, augmentation, CE noise, loss, optimiser, logging.
The bare loop steps on tensors that never change. The plain loop is a bare one as peers write it: float32, and one
forward for each branch. The loops take turns, so that changes of the machine's speed affect all of them equally.
"""

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from networks import CEVAE, CEVAEObjective
from networks.objective import kl_divergence, reconstruction_error
from pipeline.model import build, load_configuration, settings_of, training_configuration
from pipeline.training import BatchLoader, Slices

BATCH = 64

STEPS = {"64 x 64, 16/32/64/256": 6, "64 x 64, 16/64/256/1024": 3, "192 x 192, 16/32/64/256": 2}
"""Steps of an epoch on the CPU for each shape; on a GPU there are always 200."""

SHAPES = {
    "64 x 64, 16/32/64/256": ["size=64", "features=[16,32,64,256]"],
    "64 x 64, 16/64/256/1024": ["size=64", "features=[16,64,256,1024]"],
    "192 x 192, 16/32/64/256": ["size=192", "features=[16,32,64,256]"],
}


def synthetic_slices(folder: Path, number: int, size: int, of_a_scan: int = 100) -> list[Path]:
    """Write stacks of random slices with a round brain, and return their files."""
    files = []
    y, x = np.ogrid[:size, :size]
    mask = ((y - size / 2) ** 2 + (x - size / 2) ** 2 < (size / 2.4) ** 2).astype(np.float16)
    random = np.random.default_rng(0)
    for start in range(0, number, of_a_scan):
        files.append(folder / f"{start}.npy")
        image = random.standard_normal((min(of_a_scan, number - start), 1, size, size), np.float32)
        np.save(files[-1], np.concatenate([image * mask, np.broadcast_to(mask, image.shape)], 1).astype(np.float16))
    return files


def real_loop(folder: Path, slices: Slices, settings: list[str], device: str) -> Callable[[], None]:
    """Return a function that trains one epoch and logs it."""
    content = settings_of(training_configuration("train", settings))
    # Only the handlers that log are kept; validation and checkpoints are not measured.
    logging_handlers = [h for h in content["train"]["handlers"] if "Table" in str(h) or "Board" in str(h)]
    content["train"]["trainer"]["train_handlers"] = logging_handlers
    parser = load_configuration(content, bundle_root=str(folder), device=f"$torch.device('{device}')")
    parser["train::dataloader"] = BatchLoader(slices, BATCH, shuffle=True)
    parser["validate::dataloader"] = BatchLoader(slices, BATCH)
    trainer = build(parser, "train::trainer")
    trainer.state.max_epochs = 0

    def epoch() -> None:
        trainer.state.max_epochs += 1
        trainer.run()

    return epoch


def bare_loop(steps: int, settings: list[str], device: str, plain: bool = False) -> Callable[[], None]:
    """Return a function that takes `steps` steps on tensors that never change.

    Args:
        steps: number of steps.
        settings: settings of the network.
        device: where to compute.
        plain: whether to compute in float32 with one forward for each branch, as peers do.
    """
    values = settings_of(training_configuration("train", settings))
    network = CEVAE(values["size"], 1, values["features"], values["latent_channels"]).to(device)
    x, x_noisy = torch.randn(2, BATCH, 1, values["size"], values["size"], device=device)
    objective = CEVAEObjective(network, precision="float32" if plain else values["precision"])
    if plain:
        network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(network.parameters(), lr=values["learning_rate"], fused=not plain)

    def two_forwards() -> torch.Tensor:
        mu, logvar = network.encode(x)
        reconstruction = network.decode(mu + torch.randn_like(mu) * torch.exp(0.5 * logvar))
        from_context = network.decode(network.encode(x_noisy)[0])
        vae = kl_divergence(mu, logvar) + reconstruction_error(x, reconstruction)
        return (0.5 * vae + 0.5 * reconstruction_error(x, from_context)).mean()

    def run() -> None:
        for _ in range(steps):
            loss = two_forwards() if plain else objective(x, x_noisy).loss.mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        if device != "cpu":
            torch.cuda.synchronize()

    return run


def seconds(work: Callable[[], object]) -> float:
    """Return the run time of a function, s."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def compare(settings: list[str], steps: int, repeats: int, device: str) -> dict[str, float]:
    """Return slices per second of the real, bare and plain loop, and their ratios: medians over repeats."""
    size = settings_of(training_configuration("train", settings))["size"]
    with tempfile.TemporaryDirectory() as folder:
        slices = Slices(synthetic_slices(Path(folder), steps * BATCH, size), device)
        loops = {
            "real": real_loop(Path(folder), slices, settings, device),
            "bare": bare_loop(steps, settings, device),
            "plain": bare_loop(steps, settings, device, plain=True),
        }
        for loop in loops.values():  # the first epoch allocates memory and chooses kernels
            loop()
        times = [{name: seconds(loop) for name, loop in loops.items()} for _ in range(repeats)]
    result = {f"{name}_slices_per_second": statistics.median(steps * BATCH / t[name] for t in times) for name in loops}
    for name in ("bare", "plain"):
        result[f"real_over_{name}"] = statistics.median(t[name] / t["real"] for t in times)
    return {key: round(value, 3) for key, value in result.items()}


def growth(device: str, sizes: tuple[int, ...] = (1_000, 10_000, 100_000)) -> dict[str, float]:
    """Return the microseconds per slice for reading a batch, for slice banks of several sizes."""

    def read(loader: BatchLoader, batches: int) -> None:
        epochs = (batch for epoch in itertools.count() for batch in _epoch(loader, epoch))
        for _ in itertools.islice(epochs, batches):
            pass

    result = {}
    with tempfile.TemporaryDirectory() as folder:
        files = synthetic_slices(Path(folder), max(sizes), 64)
        for size in sizes:
            loader = BatchLoader(Slices(files[: size // 100], device), BATCH, shuffle=True)
            read(loader, len(loader))  # one pass brings the whole bank into memory
            took = min(seconds(partial(read, loader, 300)) for _ in range(3))
            result[f"{size} slices"] = round(1e6 * took / 300 / BATCH, 2)
    return result


def _epoch(loader: BatchLoader, epoch: int) -> BatchLoader:
    loader.set_epoch(epoch)
    return loader


def run(repeats: int = 9) -> dict[str, Any]:
    """Return the results of all shapes and precisions."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    results: dict[str, Any] = {}
    for name, settings in SHAPES.items():
        steps = STEPS[name] if device == "cpu" else 200
        for precision in ("float32", "bfloat16"):
            results[f"{name}, {precision}"] = compare([*settings, f"precision={precision}"], steps, repeats, device)
            print(name, precision, results[f"{name}, {precision}"], flush=True)
    results["microseconds per slice into a batch"] = growth(device)
    print(results["microseconds per slice into a batch"], flush=True)
    return results


if __name__ == "__main__":
    run()
