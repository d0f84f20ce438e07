"""Small WebShop data sets and raw files for the tests."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

from hiper.benchmarks.webshop import catalogue
from hiper.benchmarks.webshop.settings import WebshopSettings


def settings(
    source: str = "generate",
    folder: Path | None = None,
    products: str = "small",
    count: int = 60,
    shop: int = 1,
    **goals: Any,
) -> WebshopSettings:
    """A generated shop of `count` products (its seed is `shop`), 20 test goals and 10 dev goals.

    `goals` has further settings of `data.goals`.
    """
    return WebshopSettings.model_validate(
        {
            "name": "webshop",
            "dataset": "shop",
            "mode": "strict",
            "task_types": ["beauty"],
            "max_turns": 10,
            "success_reward": 10.0,
            "reward": "success",
            "splits": {"train": "train", "evaluation": {"test": "test"}},
            "data": {
                "source": source,
                "folder": None if folder is None else str(folder),
                "products": products,
                "generate": {"seed": shop, "products": count},
                "goals": {"kind": "synthetic", "order": "fixed", "seed": 0, "test": 20, "dev": 10} | goals,
            },
        }
    )


def write_raw(folder: Path, count: int = 60, seed: int = 1, *, full: bool = False, packed: bool = False) -> Path:
    """A folder with raw files as WebShop names them, and one human instruction for each of the first products."""
    items, instructions = catalogue.generate(count, seed)
    human = {item["asin"]: [human_instruction(item)] for item in items[:40]}
    ending = "" if full else "_1000"
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (
        (f"items_shuffle{ending}.json", items),
        (f"items_ins_v2{ending}.json", instructions),
        ("items_human_ins.json", human),
    ):
        data = json.dumps(content).encode()
        path = folder / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(data, mtime=0) if packed else data)
    return folder


def human_instruction(item: dict[str, Any]) -> dict[str, Any]:
    return {
        "asin": item["asin"],
        "instruction": f"could you get me one of those {item['query']}.",
        "attributes": [],
        "options": [],
        "instruction_attributes": [item["name"].split()[1]],
        "instruction_options": [],
        "assignment_id": "",
        "worker_id": "",
    }


def files(folder: Path) -> dict[str, bytes]:
    """The content of every file below the folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
