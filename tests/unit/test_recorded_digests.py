"""Results that somebody has stay valid: the digests of what their stages read do not change by themselves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from pipeline import RUN, VLLM, run_settings

from hiper import plugins
from hiper.config import RunSettings
from hiper.declarations import STAGES
from hiper.digests import stage_digest

RECORDED = Path(__file__).with_name("recorded_digests.json")
ADVICE = f"""
A setting that has come since and is not declared `Before(what was done until then)` (hiper/declarations.py) changes the
digest of each stage that reads it, and all results are made again: declare it. Where results must indeed be made again,
or with a new algorithm or benchmark, `python tests/unit/test_recorded_digests.py` writes {RECORDED.name}."""
SWITCHED_ON = {
    "model__lora": {"rank": 4, "alpha": 8.0},
    "rollout": VLLM | {"difference_limit": None},
    "engine__name": "deepspeed",
    "engine__zero_stage": 2,
}


def runs() -> Iterator[tuple[str, RunSettings]]:
    """One run of each algorithm, of each benchmark, and with the sections that are null in the others."""
    for algorithm in plugins.BUILT_IN[plugins.ALGORITHMS]:
        yield f"algorithm {algorithm}", run_settings(f"alfworld_test-test-{algorithm}-seed0")
    for benchmark in plugins.BUILT_IN[plugins.ENVIRONMENTS]:
        yield f"benchmark {benchmark}", run_settings(f"{benchmark}_test-test-hiper-seed0")
    yield "optional sections", run_settings(RUN, **SWITCHED_ON)


def digests() -> dict[str, dict[str, str]]:
    return {name: {stage: stage_digest(settings, stage) for stage in STAGES} for name, settings in runs()}


def test_stages_keep_the_digests_that_results_were_made_with() -> None:
    """Of every setting that any of ours has, as recorded when it was new."""
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))
    found = digests()
    other = [
        f"{name}: {', '.join(stage for stage in STAGES if recorded.get(name, {}).get(stage) != own[stage])}"
        for name, own in found.items()
        if recorded.get(name) != own
    ]
    assert not other, "\n".join(["these stages have other digests than were recorded:", *other, ADVICE])


if __name__ == "__main__":
    RECORDED.write_text(json.dumps(digests(), indent=1) + "\n", encoding="utf-8")
