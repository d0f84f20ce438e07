"""What counting cannot know, each with where its value comes from. `hiper plan` prints all of them and changes any."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hiper.planning.hardware import CARDS, Card
from hiper.planning.step import Rates


@dataclass(frozen=True)
class Assumptions:
    """`gpus` None: as many as the experiment's engine has; `prompt`, `response`: tokens a turn, None: as its benchmark
    has."""

    card: Card = CARDS["h100"]
    gpus: int | None = None
    mfu: float = 0.25  # at which the authors' updates (1.5B, 4 GPUs: actor 30 s, critic 27 s) come out; 0.4 is good
    bandwidth_share: float = 0.6
    turn_seconds: float = 3.0  # what the authors' 160 s of generation leave for each of 50 turns; not measured here
    cached: float = 0.0  # the local sampler keeps no prefixes; what vLLM finds again is measured in training
    turn_share: float = 0.75  # of the limit: 50 to 24 of 50 and 14.5 to 6.2 of 15 in the authors' logs
    prompt: float | None = None
    response: float | None = None
    host_nanoseconds: float = 2.0  # 1.5 on one core of 2026; sixteen at 2 read and write 224 GB/s, as a server's memory
    pcie: float = 25e9  # of 32 GB/s that version 4 has, 64 that version 5 has; not measured
    writing: float = 0.5e9  # 0.4 GB of tensors with their SHA-256 took a core of 2026 0.84 s; a slow disk is slower
    longest_response: float = 1.75  # times the mean; the longest of 128 log-normal answers of deviation 10 around 40

    @property
    def rates(self) -> Rates:
        return Rates(self.mfu, self.bandwidth_share, self.turn_seconds, self.cached)

    def tokens(self, benchmark: tuple[float, float]) -> tuple[float, float]:
        """(prompt, response) of a turn of a benchmark that has `benchmark`."""
        prompt, response = benchmark
        return prompt if self.prompt is None else self.prompt, response if self.response is None else self.response

    def lines(self, benchmarks: Mapping[str, tuple[float, float]]) -> list[tuple[str, str, str]]:
        """(option, value, what it means) of each; `benchmarks`: (prompt, response) of a turn by name."""
        card = self.card
        tokens = ", ".join(f"{name} {prompt} + {response}" for name, (prompt, response) in benchmarks.items())
        return [
            ("--gpu", card.name, f"{card.flops / 1e12:g} TFLOP/s in bfloat16, {card.single / 1e12:g} in float32"),
            ("--bandwidth", f"{card.bandwidth / 1e12:g} TB/s", "of the GPU's memory"),
            ("--memory", f"{card.memory / 1e9:g} GB", "of the GPU"),
            ("--gpus", "as configured" if self.gpus is None else str(self.gpus), "of one run"),
            ("--mfu", f"{self.mfu:g}", "share of the peak rate reached in passes over whole sequences"),
            ("--bandwidth-share", f"{self.bandwidth_share:g}", "share of the bandwidth reached in generation"),
            ("--turn-seconds", f"{self.turn_seconds:g} s", "between two turns: environments, texts, scheduling"),
            ("--cached", f"{self.cached:g}", "share of prompt tokens found in a prefix cache"),
            (
                "--host-nanoseconds",
                f"{self.host_nanoseconds:g} ns",
                "of a core to update a parameter whose optimiser is offloaded",
            ),
            ("--pcie", f"{self.pcie / 1e9:g} GB/s", "between each GPU and the host's memory, one way at a time"),
            ("--writing", f"{self.writing / 1e9:g} GB/s", "of a checkpoint, by each process, with its checksum"),
            ("--turn-share", f"{self.turn_share:g}", "mean turns of an episode, as a share of the limit"),
            ("--prompt-tokens", _said(self.prompt), f"of a turn; by default (prompt + response) {tokens}"),
            ("--response-tokens", _said(self.response), "of a turn"),
            ("--longest-response", f"{self.longest_response:g}", "longest answer of a batch, times the mean"),
        ]


def _said(value: float | None) -> str:
    return "by benchmark" if value is None else f"{value:g}"
