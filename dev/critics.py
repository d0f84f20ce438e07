"""How fast kinds of critics come to explain what episodes return: `python -m dev.critics RUN --data DIR`.

RUN is the folder of a run, whose settings are taken, beside that of its warm start. Values learn Monte-Carlo returns of
the warm start's play as in `training.critic.pretraining`; each batch is explained before it is learned from. The table
on stdout has the mean explained variance of thirds of the batches, the first batch left out.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from hiper.compose import RunName, read_config
from hiper.config import parse_run
from hiper.stages.training import Trainer

OWN: dict[str, Any] = {"backbone": "separate", "detach": False}
TRUNKS: dict[str, dict[str, Any]] = {
    "features only": {"backbone": "shared", "detach": True, "trunk_blocks": "all"},
    "trunk of 1 block": {**OWN, "trunk_blocks": 1},
    "trunk of all blocks": {**OWN, "trunk_blocks": "all"},
}
LOSSES: dict[str, dict[str, Any]] = {
    "squared": {"loss": "squared"},
    "HL-Gauss": {"loss": "hl_gauss", "bins": 51, "bins_low": -1.0, "bins_high": 1.0},
}
PARTS = 3


def curve(run: Path, data: Path, critic: dict[str, Any], batches: int) -> dict[str, list[float]]:
    """Explained variance of each head before each batch."""
    values = read_config(run / "config.yaml").model_dump()
    values["training"]["critic"] |= critic
    start = run.parent / str(RunName.parse(run.name).warm_start) / "model"
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(parse_run(values, str(run)), start, Path(folder), data)
        for _ in range(batches):
            trainer.pretrain_once()
            for head, share in trainer.pretraining.explained.items():
                found.setdefault(head, []).append(share)
    return found


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dev.critics", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("--data", type=Path, default=Path("data"), metavar="DIR")
    parser.add_argument("--batches", type=int, default=24)
    parser.add_argument("--rate", type=float, help="learning rate (default: the run's)")
    return parser


def main() -> None:
    given = build_parser().parse_args()
    rate = {} if given.rate is None else {"learning_rate": given.rate}
    for trunk, where in TRUNKS.items():
        for loss, how in LOSSES.items():
            found = curve(given.run, given.data, where | how | rate, given.batches)
            cells = [
                f"{head} " + " ".join(f"{part.mean():.2f}" for part in np.array_split(shares[1:], PARTS))
                for head, shares in found.items()
            ]
            print(f"| {trunk}, {loss} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
