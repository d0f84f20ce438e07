"""The critic: value heads on a backbone that is the actor's (`shared`) or its own (`separate`), and the states they
read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from hiper.algorithms.interface import EVERY_TOKEN
from hiper.learning.batches import answer_of, generation_of, micro_batches
from hiper.learning.decoder import Backbone, Packing
from hiper.learning.processes import Processes
from hiper.learning.read_outs import READ_OUTS, Answer, Index, require_read_outs
from hiper.learning.training_engine import Run
from hiper.learning.value_losses import ValueLoss
from hiper.trajectory import Trajectory, Turn

T = TypeVar("T")

# Of states that keep a subgoal. The last bits of a forward pass depend on how many positions it computes, so these stay
# whatever an algorithm's heads read: its results would be others without them.
ALWAYS_READ = ("prompt", "after_subgoal")


class ValueHeads(nn.Module):
    """One head per name; linear, or with one hidden layer of `width`. Input [n, hidden]; what is put out, and how it is
    read as a value, is the `loss`'s."""

    def __init__(self, hidden: int, names: Sequence[str], width: int, loss: ValueLoss) -> None:
        super().__init__()
        self.names, self.loss = tuple(names), loss
        self.heads = nn.ModuleDict({name: _head(hidden, width, loss.outputs) for name in self.names})

    def initialize(self, generator: torch.Generator) -> None:
        """Normal weights of standard deviation 0.02, zero biases: a value near 0 everywhere, or near the middle of the
        bins."""
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name.endswith("bias"):
                    parameter.zero_()
                else:
                    parameter.normal_(0.0, 0.02, generator=generator)

    def output(self, name: str, hidden: Tensor) -> Tensor:
        """[n, hidden] → float32 [n, outputs]; in the precision that the weights have, whatever the caller's."""
        with torch.autocast(hidden.device.type, enabled=False):
            output: Tensor = self.heads[name](hidden.to(next(self.parameters()).dtype))
        return output.float()

    def value(self, name: str, hidden: Tensor) -> Tensor:
        """[n, hidden] → float32 [n]."""
        return self.loss.value(self.output(name, hidden))


def _head(hidden: int, width: int, outputs: int) -> nn.Module:
    if width == 0:
        return nn.Linear(hidden, outputs)
    return nn.Sequential(nn.Linear(hidden, width), nn.SiLU(), nn.Linear(width, outputs))


@dataclass
class State:
    """A token sequence at which values are read.

    `place` is its (trajectory, column) in the value arrays; `positions` maps a read-out's name to the indices of
    the tokens whose hidden states are read [read-outs]; `features` holds those hidden states [read-outs, hidden] where
    the sampler already gave them. `tokens` begins with the `prompt_length` tokens of the prompt.
    """

    tokens: npt.NDArray[np.int32]
    prompt_length: int
    place: tuple[int, int]
    positions: Mapping[str, Index]
    features: dict[str, npt.NDArray[np.float32]] = field(default_factory=dict)


def turn_state(turn: Turn, place: tuple[int, int], read_outs: Sequence[str], use_features: bool) -> State:
    """The state of a sampled turn; with `use_features` the sampler's hidden states are taken where present."""
    prompt, response = generation_of(turn)
    answer = answer_of(turn)
    at = {name: READ_OUTS[name](answer) for name in read_outs}
    last = max((int(index[-1]) for index in at.values() if len(index)), default=0)
    tokens = np.concatenate([prompt, response[:last]])
    state = State(tokens, len(prompt), place, {name: len(prompt) + index - 1 for name, index in at.items()})
    assert turn.generation is not None
    known = turn.generation.features
    if use_features and known is not None:
        state.features = {name: known[index] for name, index in at.items() if (index < len(known)).all()}
    return state


def kept_state(
    prompt: npt.NDArray[np.int32], kept: npt.NDArray[np.int32], place: tuple[int, int], read_outs: Sequence[str]
) -> State:
    """The state after `prompt` as if the turn kept its subgoal: `kept` are the tokens of that answer up to the end of
    its subgoal block, none of which the policy has chosen. Bootstraps of truncated episodes and V_low(s_t, o_{t−1})
    are read there, at `read_outs` and ALWAYS_READ."""
    answer = Answer(len(kept) + 1, None, len(kept), np.zeros(len(kept) + 1, bool))
    at = {name: len(prompt) + READ_OUTS[name](answer) - 1 for name in dict.fromkeys((*ALWAYS_READ, *read_outs))}
    return State(np.concatenate([prompt, kept]), len(prompt), place, at)


def idle_state(read_outs: Mapping[str, str]) -> State:
    """A state of one token, for a process that takes part with nothing of its own."""
    return State(np.zeros(1, np.int32), 1, (0, 0), {name: np.zeros(1, np.int64) for name in read_outs.values()})


def _at_once(work: Callable[[], T]) -> T:
    return work()


class Critic:
    """Reads values for whole rollout batches. `read_outs`: where each head reads, by the head's name; UserError for a
    read-out that does not exist. `device` is where the backbone lives.

    A learner that takes the critic into training says how its parts are run and who shares the work
    (`run_backbone`, `run_heads`, `processes`). Each process then has the features of its share of the states, and all
    have the values of all.
    """

    def __init__(
        self, backbone: Backbone, heads: ValueHeads, read_outs: Mapping[str, str], budget: int, device: str
    ) -> None:
        require_read_outs(read_outs.values())
        self.backbone, self.heads, self.read_outs = backbone, heads, dict(read_outs)
        self.budget, self.device = budget, device
        self.run_backbone: Run = _at_once
        self.run_heads: Run = _at_once
        self.processes = Processes()

    def hidden(self, states: Sequence[State]) -> list[dict[str, Tensor]]:
        """Hidden states per state and read-out, each [read-outs, hidden]; gradients flow unless disabled by the
        caller."""
        wanted = [np.unique(np.concatenate(list(state.positions.values()))) for state in states]
        packing = Packing.of([state.tokens for state in states], wanted, self.device)
        rows, _ = self.backbone.hidden(packing)
        out, start = [], 0
        for state, positions in zip(states, wanted, strict=True):
            at = {name: start + np.searchsorted(positions, p) for name, p in state.positions.items()}
            out.append({name: rows[torch.as_tensor(index, device=rows.device)] for name, index in at.items()})
            start += len(positions)
        return out

    @torch.no_grad()
    def fill_features(self, states: Sequence[State]) -> None:
        """Compute the features of the states that do not have them yet."""
        missing = [state for state in states if len(state.features) < len(state.positions)]
        lengths = np.array([len(state.tokens) for state in missing], dtype=np.int64)
        for group in self.processes.dealt(micro_batches(lengths, self.processes.budget(lengths, self.budget))):
            chosen = [idle_state(self.read_outs)] if group is None else [missing[i] for i in group]
            for state, hidden in zip(chosen, self.run_backbone(partial(self.hidden, chosen)), strict=True):
                state.features = {name: row.float().cpu().numpy() for name, row in hidden.items()}

    @torch.no_grad()
    def values(self, states: Sequence[State], head: str, shape: tuple[int, int, int]) -> npt.NDArray[np.float64]:
        """Values of one head `[trajectory, turn + 1]`, or `[trajectory, turn + 1, token]` if it reads at every token; 0
        where there is no state. `shape` is always the latter."""
        name = self.read_outs[head]
        out = np.zeros(shape if name == EVERY_TOKEN else shape[:2])
        read = [state for state in states if name in state.features]
        none = np.zeros((0, self.backbone.shape.hidden_size), np.float32)
        features = torch.as_tensor(
            np.concatenate([none, *(state.features[name] for state in read)]), device=self.device
        )
        values = self.run_heads(partial(self.heads.value, head, features))
        if read:
            counts = [len(state.positions[name]) for state in read]
            at: tuple[Index, ...] = tuple(np.repeat([state.place for state in read], counts, axis=0).T)
            if name == EVERY_TOKEN:
                at += (np.concatenate([state.positions[name] - state.prompt_length + 1 for state in read]),)
            out[at] = values.double().cpu().numpy()
        return self.processes.summed(out)


def bootstrap_states(
    trajectories: Sequence[Trajectory],
    encode_prompt: Callable[[str], npt.NDArray[np.int32]],
    encode_kept: Callable[[str | None], npt.NDArray[np.int32]],
    read_outs: Sequence[str],
) -> list[State]:
    """The real next state of every truncated trajectory, in the column after its last turn."""
    return [
        kept_state(encode_prompt(t.last_prompt), encode_kept(t.turns[-1].subgoal), (i, len(t.turns)), read_outs)
        for i, t in enumerate(trajectories)
        if t.truncated and t.last_prompt is not None
    ]


def previous_subgoal_states(
    trajectories: Sequence[Trajectory],
    encode_kept: Callable[[str | None], npt.NDArray[np.int32]],
    read_outs: Sequence[str],
) -> list[State]:
    """V_low(s_t, o_{t−1}) for every turn: the turn's own prompt, answered with KEEP. Before turn 0 there is no
    subgoal."""
    states = []
    for i, trajectory in enumerate(trajectories):
        subgoals = [None, *(turn.subgoal for turn in trajectory.turns)]
        for t, turn in enumerate(trajectory.turns):
            states.append(kept_state(generation_of(turn)[0], encode_kept(subgoals[t]), (i, t), read_outs))
    return states
