"""Run all benchmarks, print them, and write them to benchmarks/results.json with the machine and the versions.

make bench
"""

import json
import platform
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import monai
import numpy as np
import torch

from benchmarks import bank, memory, prediction, report, start, training


def machine() -> dict[str, object]:
    """Return the hardware and the versions that the figures were measured with."""
    names = Path("/proc/cpuinfo")
    lines = names.read_text().splitlines() if names.exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    bf16 = any("avx512_bf16" in line or "amx_bf16" in line for line in lines)
    return {
        "processor": model, "threads": torch.get_num_threads(), "native_bfloat16": bf16, "gpu": gpu,
        "python": platform.python_version(), "torch": torch.__version__, "monai": monai.__version__,
        "numpy": np.__version__,
    }  # fmt: skip


def main() -> None:
    warnings.simplefilter("ignore")
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "training": training.run,
        "bank": bank.run,
        "prediction": prediction.run,
        "memory": memory.run,
        "start": start.run,
        "report": report.run,
    }
    chosen = sys.argv[1:] or list(parts)
    file = Path(__file__).with_name("results.json")
    results = json.loads(file.read_text()) if file.exists() else {}
    results["machine"] = machine()
    for name in chosen:
        results[name] = parts[name]()
        file.write_text(json.dumps(results, indent=1) + "\n")
    print(f"all results: {file}")


if __name__ == "__main__":
    main()
