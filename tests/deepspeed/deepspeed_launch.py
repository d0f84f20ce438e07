"""Start `deepspeed_worker.py` in as many processes as a test wants: by torchrun, but one alone, as in the workflow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

WORKER = Path(__file__).with_name("deepspeed_worker.py")
ENVIRONMENT = {
    "DS_ACCELERATOR": "cpu",
    "CUDA_VISIBLE_DEVICES": "",
    "OMP_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "PYTHONPATH": os.pathsep.join(map(str, (WORKER.parents[2], WORKER.parents[1]))),
}


def launch(processes: int, work: dict[str, Any], folder: Path) -> subprocess.CompletedProcess[str]:
    """Do `work` and wait; what the processes say is in the result."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"work{len(list(folder.glob('work*.json')))}.json"
    path.write_text(json.dumps(work))
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    command = [sys.executable, *(torchrun if processes > 1 else ()), str(WORKER), str(path)]
    compiled = folder / "extensions"
    environment = {**os.environ, **ENVIRONMENT, "TORCH_EXTENSIONS_DIR": str(compiled)}
    environment["TORCHINDUCTOR_CACHE_DIR"] = str(folder / "kernels")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert not compiled.exists(), "DeepSpeed compiled something"
    return done


def succeed(processes: int, work: dict[str, Any], folder: Path) -> str:
    """As `launch`, for what must work."""
    done = launch(processes, work, folder)
    assert done.returncode == 0, done.stderr[-6000:]
    return done.stderr
