"""Where, how and by which model an evaluation was played: how the report orders these conditions and what it calls
them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hiper.trajectory import evaluated_on

SPLITS = ("seen", "unseen", "dev", "test")  # the order in tables; others follow by name
PROTOCOLS = ("exhaustive", "sampled")  # every task of a split once; so many drawn with replacement
CHECKPOINTS = ("last", "best")  # the last model of a run; the one that won most validation tasks
VARYING = {  # what a table says of its conditions where it tells rows apart, and what the words there mean
    "protocol": "Protocol: exhaustive plays every task of a split once; sampled plays tasks drawn with replacement, as "
    "the paper does.",
    "checkpoint": "Model: last is what a run ended with, best what won most validation tasks while it trained; the "
    "tables have success on other tasks.",
}


@dataclass(frozen=True)
class Condition:
    """A split, a temperature (0: greedy), how its tasks were chosen and which model of a run played them."""

    split: str
    temperature: float
    protocol: str = PROTOCOLS[0]
    checkpoint: str = CHECKPOINTS[0]

    @property
    def drawn(self) -> str:
        """How actions were chosen, as a cell of a table."""
        return f"{self.temperature}" if self.temperature else "greedy"

    @property
    def decoding(self) -> str:
        """The same in a sentence."""
        return f"T = {self.temperature}" if self.temperature else "greedy"

    @property
    def place(self) -> str:
        """Where, with what is not usual about it, as names of episodes and metrics have it: `unseen.best`."""
        return evaluated_on(asdict(self))

    @property
    def part(self) -> str:
        """What the names of its episodes begin with: `hiper inspect RUN unseen.best:0.4:0`."""
        return f"{self.place}:{self.temperature:g}"

    @property
    def words(self) -> str:
        unusual = {"sampled": "sampled", "best": "best model"}
        return ", ".join([self.split, self.decoding, *(unusual[n] for n in self.block if n in unusual)])

    @property
    def where(self) -> tuple[str, float]:
        return self.split, self.temperature

    @property
    def block(self) -> tuple[str, str]:
        return self.protocol, self.checkpoint


def condition_of(episode: Mapping[str, Any]) -> Condition:
    """Where a row of `evaluation.jsonl` belongs. Old rows name neither protocol nor model: exhaustive, last."""
    named = {name: episode[name] for name in VARYING if name in episode}
    return Condition(episode["split"], float(episode["temperature"]), **named)


def in_order(conditions: Iterable[Condition]) -> list[Condition]:
    """By protocol and model; within these splits as in SPLITS, temperatures ascending, greedy behind them."""
    return sorted(
        conditions,
        key=lambda c: (
            _place(PROTOCOLS, c.protocol),
            _place(CHECKPOINTS, c.checkpoint),
            _place(SPLITS, c.split),
            c.temperature == 0,
            c.temperature,
        ),
    )


def _place(known: Sequence[str], name: str) -> tuple[int, str]:
    return (known.index(name), "") if name in known else (len(known), name)


def varying(conditions: Sequence[Condition]) -> list[str]:
    """Of protocol and checkpoint those that tell these conditions apart."""
    return [name for name in VARYING if len({getattr(condition, name) for condition in conditions}) > 1]


def legend(conditions: Sequence[Condition]) -> str:
    """What a table's words for these conditions mean, as sentences; empty where they need no explanation."""
    sentences = [VARYING[name] for name in varying(conditions)]
    return " ".join(sentences + ["Greedy: T = 0."] * any(c.temperature == 0 for c in conditions))
