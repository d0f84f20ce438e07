"""The local sampler keeps the contract of policies, and its log probabilities are the trainer's."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from hiper.algorithms.interface import EVERY_TOKEN
from hiper.config import Decoding
from hiper.errors import UserError
from hiper.learning.batches import chosen_tokens
from hiper.learning.critic import Critic, ValueHeads, kept_state, turn_state
from hiper.learning.decoder import Decoder, DecoderShape, Packing
from hiper.learning.value_losses import Squared
from hiper.plan_execute import parse, parse_react
from hiper.policies.base import Request
from hiper.policies.conformance import check_policy
from hiper.policies.local import LocalPolicy
from hiper.policies.prefixes import Prefixes
from hiper.trajectory import TokenSpan, Turn

ACTIONS = ("go to desk 1", "go to desk 10", "look", "take mug 1 from desk 1")
REQUESTS = [
    Request("find a mug", ACTIONS, None),
    Request("a longer prompt: go to desk 1 and take mug 1 from desk 1", ACTIONS, "find a mug"),
    Request("one way only", ("look",), "find a mug"),
]


def policy(
    tokenizer: Any, mode: str, temperature: float = 1.0, max_prompt: int = 200, interface: str = "plan_execute"
) -> LocalPolicy:
    shape = DecoderShape(len(tokenizer), 32, 48, 2, 4, 2, True, 512, 10000.0, 1e-6)
    decoder = Decoder(shape)
    decoder.initialize(torch.Generator().manual_seed(1))
    decoding = Decoding(mode=mode, temperature=temperature, max_response_tokens=24, max_text_tokens=5)
    return LocalPolicy(decoder, tokenizer, decoding, interface, max_prompt, "cpu")


@pytest.mark.parametrize("mode", ["free", "guided"])
@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
def test_it_keeps_the_contract_of_policies(tokenizer: Any, mode: str, temperature: float) -> None:
    """Both decoding modes, greedy and sampled, pass the conformance check."""
    check_policy(policy(tokenizer, mode, temperature), REQUESTS)


@pytest.mark.parametrize("mode", ["free", "guided"])
def test_kept_prefixes_change_no_answer(tokenizer: Any, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the turns of episodes that end one by one, in another order and in groups of rows, log probabilities and
    hidden states differ by rounding alone, and tokens are not read twice; after `begin` other weights may come."""
    plain, keeping = policy(tokenizer, mode), policy(tokenizer, mode)
    keeping.prefixes = Prefixes()
    rules = "go to desk 1 and look, take mug 1 from desk 1, go to desk 10. "
    shown = ["find a mug. look", "find a desk. go to desk 1 and", "take mug"]
    turns = [[Request(f"{rules}{task}{' look' * turn}", ACTIONS, None) for task in shown] for turn in range(3)]
    turns[1].reverse()
    turns[2].pop()
    for weights in (1, 2):
        for sampler in (plain, keeping):
            sampler.decoder.initialize(torch.Generator().manual_seed(weights), deviation=0.3)
        keeping.begin([3])
        for number, requests in enumerate(turns):
            monkeypatch.setattr("hiper.policies.prefixes.SCORES", 1 << 26 if number < 2 else 1)
            answers = [sampler.respond(requests, [3, number]) for sampler in (plain, keeping)]
            for one, other in zip(*answers, strict=True):
                assert one.text == other.text and one.generation is not None and other.generation is not None
                assert np.allclose(one.generation.logprobs, other.generation.logprobs, atol=1e-4)
                assert np.allclose(one.generation.features, other.generation.features, atol=1e-4)
            # of three prompts two need not read the rules; later each knows all but what is new
            assert (0.4 if number == 0 else 0.8) < keeping.prefixes.hit_rate() < 1.0


@pytest.mark.parametrize("mode", ["free", "guided"])
def test_sampled_logprobs_equal_a_fresh_forward_pass(tokenizer: Any, mode: str) -> None:
    """Each recorded log probability is that of one pass over prompt and response at the sampling temperature, with the
    same restriction; the recorded features are that pass's hidden states."""
    sampler = policy(tokenizer, mode, temperature=0.7)
    for answer in sampler.respond(REQUESTS, [5]):
        generation = answer.generation
        assert generation is not None and generation.features is not None
        count, start = len(generation.response_tokens), len(generation.prompt_tokens)
        tokens = np.concatenate([generation.prompt_tokens, generation.response_tokens])
        with torch.inference_mode():
            wanted = np.arange(start - 1, start + count - 1)
            hidden, _ = sampler.decoder.model.hidden(Packing.of([tokens], [wanted]))
            logits = sampler.decoder.logits(hidden)
            if sampler.restriction is not None:
                assert generation.allowed is not None
                logits = sampler.restriction.apply(logits, generation.allowed)
            expected = (logits / 0.7).log_softmax(-1)[torch.arange(count), generation.response_tokens.astype(np.int64)]
        assert np.allclose(generation.logprobs, expected.numpy(), atol=1e-4)
        known = len(generation.features)
        assert np.allclose(generation.features, hidden.numpy()[:known], atol=1e-4)


def test_guided_responses_are_valid_and_admissible(tokenizer: Any) -> None:
    """Even an untrained model answers in format, with an admissible action, under the guide."""
    sampler = policy(tokenizer, "guided")
    for seed in range(5):
        for request, answer in zip(REQUESTS, sampler.respond(REQUESTS, [seed]), strict=True):
            parsed = parse(answer.text, answer.offsets)
            assert parsed.action in request.admissible_actions
            assert parsed.switch or parsed.subgoal == request.subgoal


@pytest.mark.parametrize(("interface", "parser"), [("plan_execute", parse), ("react", parse_react)])
def test_templates_that_open_a_thought_are_understood(tokenizer: Any, interface: str, parser: Any) -> None:
    """The answer goes on from the open `<think>`: closed or filled under the guide, and read that way."""
    thinking = copy.deepcopy(tokenizer)
    thinking.chat_template += "<think>\n"
    for request, answer in zip(
        REQUESTS, policy(thinking, "guided", interface=interface).respond(REQUESTS, [0]), strict=True
    ):
        parsed = parser(answer.text, answer.offsets, thinking=answer.thinking)
        assert answer.thinking and "<think>" not in answer.text and "</think>" in answer.text
        assert parsed.valid and parsed.action in request.admissible_actions
    closed = copy.deepcopy(tokenizer)
    closed.chat_template += "<think>\n\n</think>\n\n"
    assert not policy(closed, "free").thinking


def test_a_prompt_over_the_limit_is_a_user_error(tokenizer: Any) -> None:
    """The message names the setting and the number of tokens."""
    with pytest.raises(UserError, match=r"prompt\.max_tokens=10"):
        policy(tokenizer, "guided", max_prompt=10).respond(REQUESTS, [0])


def test_spans_lie_on_the_sampled_tokens(tokenizer: Any) -> None:
    """Decoding a span's tokens gives the block with its tags, and the critic reads V_low right after the subgoal
    block."""
    sampler = policy(tokenizer, "guided")
    request, (answer,) = REQUESTS[1], sampler.respond(REQUESTS[1:2], [3])
    parsed = parse(answer.text, answer.offsets)
    generation = answer.generation
    assert generation is not None and parsed.subgoal_span is not None and parsed.action_span is not None
    start, stop = parsed.subgoal_span
    assert tokenizer.decode(generation.response_tokens[start:stop]) == f"<subgoal>{parsed.subgoal}</subgoal>"
    start, stop = parsed.action_span
    assert tokenizer.decode(generation.response_tokens[start:stop]) == f"<action>{parsed.action}</action>"
    span = TokenSpan(*parsed.subgoal_span)
    turn = Turn(
        observation="",
        prompt=request.prompt,
        response=answer.text,
        switch=parsed.switch,
        subgoal=parsed.subgoal,
        subgoal_text=parsed.subgoal,
        action=parsed.action,
        valid=True,
        reward=0.0,
        subgoal_span=span,
        generation=generation,
    )
    state = turn_state(turn, (0, 0), ["prompt", "after_subgoal"], use_features=False)
    prompt = len(generation.prompt_tokens)
    assert state.positions == {"prompt": prompt - 1, "after_subgoal": prompt + span.stop - 1}
    assert state.tokens[-1] == tokenizer.convert_tokens_to_ids("</subgoal>")


@pytest.mark.parametrize("mode", ["free", "guided"])
def test_a_value_before_every_chosen_token_needs_no_further_forward_pass(tokenizer: Any, mode: str) -> None:
    """The sampler's hidden states at the chosen tokens are those of a fresh pass, and the values stand at the tokens'
    places; a bootstrap's state has none."""
    sampler, place = policy(tokenizer, mode), (0, 1)
    (answer,) = sampler.respond(REQUESTS[1:2], [3])
    generation = answer.generation
    assert generation is not None
    turn = Turn("", "", answer.text, True, None, None, "look", True, 0.0, generation=generation)
    heads = ValueHeads(32, ["token"], 0, Squared(0.5))
    heads.initialize(torch.Generator().manual_seed(2))
    critic = Critic(sampler.decoder.model, heads, {"token": EVERY_TOKEN}, 1000, "cpu")
    known, fresh = (turn_state(turn, place, [EVERY_TOKEN], use_features=wanted) for wanted in (True, False))
    assert known.features and not fresh.features
    critic.fill_features([fresh])
    np.testing.assert_allclose(known.features[EVERY_TOKEN], fresh.features[EVERY_TOKEN], atol=1e-4)
    other = kept_state(generation.prompt_tokens, generation.response_tokens, (0, 2), [EVERY_TOKEN])
    critic.fill_features([other])
    tokens = len(generation.response_tokens)
    values = critic.values([fresh, other], "token", (1, 3, tokens + 2))
    expected = np.zeros((1, 3, tokens + 2), bool)
    expected[0, 1, :tokens] = chosen_tokens(turn)
    np.testing.assert_array_equal(values != 0, expected)
    everything = np.concatenate([generation.prompt_tokens, generation.response_tokens])
    before = len(generation.prompt_tokens) - 1 + np.flatnonzero(expected[0, 1])
    hidden, _ = sampler.decoder.model.hidden(Packing.of([everything], [before], "cpu"))
    np.testing.assert_allclose(values[expected], heads.value("token", hidden).detach().numpy(), atol=1e-5)
