"""Where value heads read an answer, by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hiper.errors import UserError
from hiper.learning import critic, read_outs
from hiper.learning.critic import Critic, ValueHeads, kept_state, turn_state
from hiper.learning.decoder import Backbone, DecoderShape
from hiper.learning.read_outs import READ_OUTS, Answer, require_read_outs
from hiper.learning.value_losses import Squared
from hiper.trajectory import Generation, TokenSpan, Turn

CHOSEN = np.array([False, True, False, True, True])
SHAPE = DecoderShape(19, 16, 32, 1, 2, 2, True, 64, 10000.0, 1e-6)


@pytest.mark.parametrize(
    ("name", "switch", "subgoal", "expected"),
    [
        ("prompt", 1, 3, [0]),
        ("after_subgoal", 1, 3, [3]),
        ("after_subgoal", 1, None, [1]),  # a KEEP turn that leaves the block out
        ("after_subgoal", None, None, [0]),
        ("after_subgoal", 1, 5, [4]),  # a block that ends the answer: before its last token
        ("every_token", 1, 3, [1, 3, 4]),
    ],
)
def test_each_read_out_reads_where_it_says(
    name: str, switch: int | None, subgoal: int | None, expected: list[int]
) -> None:
    """Indices before which the state is read, in an answer of five tokens of which the policy chose three."""
    assert READ_OUTS[name](Answer(5, switch, subgoal, CHOSEN)).tolist() == expected


def test_an_unknown_read_out_is_an_error_that_lists_the_known_ones() -> None:
    """When the critic is made, before anything is played; it never reads elsewhere instead."""
    require_read_outs(READ_OUTS)
    wanted = r"'after_subgaol'.*every_token, prompt; did you mean 'after_subgoal'"
    with pytest.raises(UserError, match=wanted):
        Critic(Backbone(SHAPE), ValueHeads(16, ["low"], 0, Squared(0.5)), {"low": "after_subgaol"}, 100, "cpu")


def test_a_read_out_is_added_by_a_function_and_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The critic then reads there, in a turn and in the state of one that keeps its subgoal, and nowhere else."""
    monkeypatch.setitem(read_outs.READ_OUTS, "last_token", lambda answer: np.array([answer.length - 1]))
    response = np.array([5, 6, 7], np.int32)
    generation = Generation(np.array([1, 2], np.int32), response, np.zeros(3, np.float32), None)
    turn = Turn("", "", "", True, None, None, "look", True, 0.0, subgoal_span=TokenSpan(0, 1), generation=generation)
    state = turn_state(turn, (0, 0), ["last_token"], use_features=False)
    assert state.positions == {"last_token": np.array([3])}  # before the last token: after the prompt's 2 and 2 more
    kept = kept_state(generation.prompt_tokens, response, (0, 1), ["last_token"])
    assert set(kept.positions) == {*critic.ALWAYS_READ, "last_token"} and kept.positions["last_token"] == [4]
    backbone, heads = Backbone(SHAPE), ValueHeads(16, ["own"], 0, Squared(0.5))
    for module in (backbone, heads):
        for parameter in module.parameters():
            torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(parameter.numel()))
    reader = Critic(backbone, heads, {"own": "last_token"}, 100, "cpu")
    reader.fill_features([state, kept])
    values = reader.values([state, kept], "own", (1, 3, 0))
    assert values[0, 0] != 0 != values[0, 1] and values[0, 2] == 0
