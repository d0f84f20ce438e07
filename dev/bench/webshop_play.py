"""Playing WebShop in this process: steps, resets, memory, and that other processes see the same.

The original has no side here: it needs Java and an old Python. Episodes are those of the scripted shopper who
hesitates, on goals of the training split; a step includes the observation, the admissible actions and the reward. The
same episodes are timed with searches answered by the index and with searches that were asked before.

Times are processor time of one core.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from dev.bench.bounds import python_shares
from dev.bench.measure import Budget, Comparison, Disagreement, Result, Side, Target, interleave
from dev.bench.webshop_search import resident_megabytes
from hiper.benchmarks.game import GameEnvironment
from hiper.benchmarks.webshop.environment import WebshopBenchmark
from hiper.benchmarks.webshop.expert import WebshopExpert
from hiper.benchmarks.webshop.settings import WebshopSettings
from hiper.benchmarks.webshop.sources import make_dataset
from hiper.compose import load_benchmark
from hiper.trajectory import Task

EPISODES = 200
PROCESSES = 2
ENVIRONMENTS = 128
FRESH, KNOWN = "each search new", "searches asked before"
STEPS_PER_SECOND = 5000.0
MEGABYTES = 300.0

Walks = Mapping[Task, Sequence[str]]


@contextmanager
def shop(data: Path | None, root: Path) -> Iterator[tuple[WebshopSettings, Path]]:
    """The settings and the data folder of a shop of 1,000 products: of raw files in `data`, or generated."""
    own = load_benchmark(root / "configs" / "benchmark" / "webshop.yaml")
    assert isinstance(own, WebshopSettings)
    generate = own.data.generate.model_copy(update={"products": 1000})
    source = {"source": "generate" if data is None else "folder", "folder": data and str(data), "generate": generate}
    settings = own.model_copy(update={"data": own.data.model_copy(update=source)})
    with tempfile.TemporaryDirectory() as folder:
        make_dataset(settings, Path(folder) / settings.dataset)
        yield settings, Path(folder)


def walks(benchmark: WebshopBenchmark, seed: int) -> Walks:
    """What a hesitating shopper does on EPISODES goals."""
    tasks = list(benchmark.tasks("train"))
    chosen = [tasks[place] for place in np.random.default_rng(seed).permutation(len(tasks))[:EPISODES]]
    environment = benchmark.environment()
    return {task: _walk(environment, task, seed) for task in chosen}


def _walk(environment: GameEnvironment, task: Task, seed: int) -> list[str]:
    observation, info = environment.reset(task)
    expert = WebshopExpert(info.instruction, np.random.default_rng(seed), 0.5)
    actions, over = [], False
    while not over:
        actions.append(expert.act(observation, info.admissible_actions).action)
        observation, _, terminated, truncated, info = environment.step(actions[-1])
        over = terminated or truncated
    return actions


def seen(settings: WebshopSettings, data_root: Path, played: Walks) -> str:
    """What another process runs to be compared with this one."""
    return _digest(settings, data_root, played)


def _digest(settings: WebshopSettings, data_root: Path, played: Walks) -> str:
    """Of everything that the walks show."""
    environment = WebshopBenchmark(settings, data_root).environment()
    digest = hashlib.sha256()
    for task, actions in played.items():
        digest.update(repr(environment.reset(task)).encode())
        for action in actions:
            digest.update(repr(environment.step(action)).encode())
    return digest.hexdigest()


def measure(budget: Budget, *, data: Path | None = None, root: Path, seed: int = 0) -> Result:
    with shop(data, root) as (settings, data_root):
        benchmark = WebshopBenchmark(settings, data_root)
        played = walks(benchmark, seed)
        checks = [_require_same(settings, data_root, played)]
        stepping = _steps(settings, data_root, played, budget)
        resetting = _resets(benchmark, list(played), budget)
        memory = _memory(settings, data_root, played)
        environment = benchmark.environment()
        bound = python_shares(lambda: _replay(environment, played))
    steps = sum(map(len, played.values()))
    rate, added = 1 / stepping.spread(FRESH).median, memory[1] - memory[0]
    return Result(
        "webshop",
        {"goals": len(played), "steps": steps, "products": 1000, "source": "generated" if data is None else str(data)},
        checks,
        [stepping, resetting],
        [
            Target(
                "steps per second, every search new",
                f"at least {STEPS_PER_SECOND:,.0f}",
                rate,
                rate >= STEPS_PER_SECOND,
                bound,
            ),
            Target(
                f"megabytes that {ENVIRONMENTS} environments take beyond one",
                f"under {MEGABYTES:g}",
                added,
                added < MEGABYTES,
                "products and pages kept for reuse",
            ),
        ],
        [f"A process that played in one environment has {memory[0]:.0f} MB, in {ENVIRONMENTS} {memory[1]:.0f} MB."],
    )


def _require_same(settings: WebshopSettings, data_root: Path, played: Walks) -> str:
    """Disagreement unless other processes see what this one does."""
    here = _digest(settings, data_root, played)
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        there = list(pool.map(seen, *zip(*[(settings, data_root, played)] * PROCESSES, strict=True)))
    if set(there) != {here}:
        raise Disagreement("webshop: another process sees other observations for the same actions")
    return f"{len(played)} episodes: the same observations, rewards and actions in {1 + PROCESSES} processes"


def _steps(settings: WebshopSettings, data_root: Path, played: Walks, budget: Budget) -> Comparison:
    fresh: list[GameEnvironment] = []
    known = WebshopBenchmark(settings, data_root).environment()

    def open_again(number: int) -> None:
        fresh[:] = [WebshopBenchmark(settings, data_root).environment()]

    sides = [
        Side(FRESH, lambda number: _replay(fresh[0], played), open_again),
        Side(KNOWN, lambda n: _replay(known, played)),
    ]
    return interleave("steps", "step", sides, {FRESH: KNOWN}, budget, time.process_time)


def _replay(environment: GameEnvironment, played: Walks) -> float:
    """Play all walks; the number of steps."""
    for task, actions in played.items():
        environment.reset(task)
        for action in actions:
            environment.step(action)
    return float(sum(map(len, played.values())))


def _resets(benchmark: WebshopBenchmark, tasks: Sequence[Task], budget: Budget) -> Comparison:
    environment = benchmark.environment()

    def reset(number: int) -> float:
        for task in tasks:
            environment.reset(task)
        return len(tasks)

    return interleave("resets", "reset", [Side("reset", reset)], {}, budget, time.process_time)


def _memory(settings: WebshopSettings, data_root: Path, played: Walks) -> tuple[float, float]:
    """Resident megabytes of a fresh process after all walks in one environment, and of one with ENVIRONMENTS."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        one = pool.submit(_resident, settings, data_root, played, 1).result()
        return one, pool.submit(_resident, settings, data_root, played, ENVIRONMENTS).result()


def _resident(settings: WebshopSettings, data_root: Path, played: Walks, count: int) -> float:
    benchmark = WebshopBenchmark(settings, data_root)
    environments = [benchmark.environment() for _ in range(count)]
    for number, (task, actions) in enumerate(played.items()):
        environment = environments[number % count]
        environment.reset(task)
        for action in actions:
            environment.step(action)
    for environment, task in zip(environments, played, strict=False):
        environment.reset(task)  # all of them hold a session
    return resident_megabytes()[0]
