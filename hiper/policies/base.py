"""The contract between a rollout and whatever produces responses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from hiper.trajectory import Generation


@dataclass(frozen=True)
class Request:
    """One prompt; `admissible_actions` and `subgoal` (None: no current subgoal) are what guided decoding needs,
    `instruction` and `observation` what players need that are no models. `shortened`: something was left out of the
    prompt so that it fits."""

    prompt: str
    admissible_actions: tuple[str, ...]
    subgoal: str | None
    instruction: str = ""
    observation: str = ""
    shortened: bool = False


@dataclass(frozen=True)
class Response:
    """`offsets` [tokens + 1]: character position in `text` where each response token begins, last the length of `text`;
    both token fields are None for policies without tokens. `thinking`: the chat template has opened a `<think>` before
    `text`."""

    text: str
    offsets: tuple[int, ...] | None = None
    generation: Generation | None = None
    thinking: bool = False


class Policy(Protocol):
    """`respond` answers every request, in order. `seed` makes sampling reproducible: same requests, same seed, same
    answers. `fits` says whether a prompt is within what the policy can read."""

    def fits(self, prompt: str) -> bool: ...

    def respond(self, requests: Sequence[Request], seed: Sequence[int]) -> list[Response]: ...


@runtime_checkable
class RememberingPolicy(Policy, Protocol):
    """A policy that keeps something from one call to the next. `begin`: other episodes come, or the model was trained;
    what was kept is forgotten, so that answers never depend on what was played before. `seed` is that of all these
    episodes together, for random numbers that are not drawn request by request."""

    def begin(self, seed: Sequence[int]) -> None: ...


@runtime_checkable
class StreamingPolicy(Policy, Protocol):
    """A policy that answers each request when it has the answer, so that a slow episode does not hold the others.

    `submit` returns a ticket. `collect` waits until at least one answer is there and returns those that are, with their
    tickets, in any order. `cancel` forgets what was submitted and not yet collected. A request's random numbers depend
    on its own `seed` alone, not on what else is being answered; or, where that is slow, on the seed that `begin` got
    and on everything that was submitted since.
    """

    def submit(self, request: Request, seed: Sequence[int]) -> int: ...

    def collect(self) -> list[tuple[int, Response]]: ...

    def cancel(self) -> None: ...
