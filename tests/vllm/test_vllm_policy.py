"""The policy with vLLM's real engine: the contract of policies, the trainer's log probabilities, new weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from pipeline import run_settings
from vllm_model import ACTIONS, LONG, REQUESTS, Opened

from hiper.benchmarks.alfworld.environment import AlfworldBenchmark
from hiper.errors import UserError
from hiper.learning.folders import load_decoder
from hiper.plan_execute import parse
from hiper.policies.base import Request
from hiper.policies.conformance import check_policy
from hiper.policies.tokenizer_files import load_tokenizer
from hiper.policies.vllm_engine import CPU_BATCH, VllmEngine, Wanted
from hiper.stages.rollout import Rollout

pytestmark = pytest.mark.vllm


@pytest.fixture(scope="module")
def running(prepared: Path) -> Opened:
    """One engine for the module: it takes a while to start."""
    folder = prepared / "warmstart" / "model"
    engine = VllmEngine(folder, Wanted("cpu", "float32", 1248, True, 32))
    return Opened(engine, load_decoder(folder), load_tokenizer(folder))


@pytest.fixture
def opened(running: Opened) -> Iterator[Opened]:
    """Trainer and engine agree at the beginning of each test, and nothing waits in the engine at its end."""
    running.engine.wake(running.decoder.state_dict().items())
    yield running
    assert not running.engine.llm.llm_engine.has_unfinished_requests()


@pytest.mark.parametrize("mode", ["free", "guided"])
@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_it_keeps_the_contract_of_policies(opened: Opened, mode: str, temperature: float) -> None:
    """Both decoding modes, greedy and sampled, pass the conformance check."""
    check_policy(opened.policy(mode, temperature), REQUESTS)


@pytest.mark.parametrize("mode", ["free", "guided"])
def test_logprobs_are_the_trainers_before_and_after_an_update(opened: Opened, mode: str) -> None:
    """Each log probability of the sampler is that of the trainer's decoder; new weights in between change the answers
    and not the agreement; trainer and engine share no memory."""
    policy, texts = opened.policy(mode, 0.7), []
    for number in range(3):
        answers = policy.respond(REQUESTS, [5])
        for answer in answers:
            assert answer.generation is not None and answer.generation.features is None
            expected = opened.trainer_logprobs(policy, answer.generation)
            np.testing.assert_allclose(answer.generation.logprobs, expected, atol=1e-4)
        texts.append([answer.text for answer in answers])
        opened.change(number)
        assert [answer.text for answer in policy.respond(REQUESTS, [5])] == texts[-1]
        opened.engine.update(opened.decoder.state_dict().items())
    assert texts[0] != texts[1] != texts[2]


def test_the_update_reaches_every_weight(opened: Opened) -> None:
    """Changing any single tensor of the trainer, sent with the others, moves the log probabilities as it moves the
    trainer's."""
    policy = opened.policy("free", 0.7)
    for name, parameter in opened.decoder.named_parameters():
        with torch.no_grad():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
        opened.engine.update(opened.decoder.state_dict().items())
        (answer,) = policy.respond(REQUESTS[1:2], [5])
        assert answer.generation is not None
        expected = opened.trainer_logprobs(policy, answer.generation)
        np.testing.assert_allclose(answer.generation.logprobs, expected, atol=2e-4, err_msg=name)


def test_greedy_guided_answers_are_those_of_the_local_policy(opened: Opened) -> None:
    """Without chance both samplers write the same tokens and permit the same sets."""
    ours = opened.local("guided", 0.0).respond(REQUESTS, [0])
    theirs = opened.policy("guided", 0.0).respond(REQUESTS, [0])
    for one, other in zip(ours, theirs, strict=True):
        assert one.generation is not None and other.generation is not None
        assert (one.text, one.offsets) == (other.text, other.offsets)
        assert one.generation.allowed == other.generation.allowed
        np.testing.assert_array_equal(one.generation.response_tokens, other.generation.response_tokens)


def test_guided_responses_are_valid_and_admissible(opened: Opened) -> None:
    """Every answer has the format and an admissible action, and KEEP copies the subgoal."""
    policy = opened.policy("guided")
    for seed in range(4):
        for request, answer in zip(REQUESTS, policy.respond(REQUESTS, [seed]), strict=True):
            parsed = parse(answer.text, answer.offsets)
            assert parsed.action in request.admissible_actions
            assert parsed.switch or parsed.subgoal == request.subgoal


def test_an_answer_depends_on_its_own_seed_alone(opened: Opened) -> None:
    """A request is answered alike alone, among others, and whatever the order; another seed gives another answer."""
    policy = opened.policy("free")

    def answers(numbers: list[int]) -> dict[int, str]:
        tickets = {policy.submit(REQUESTS[n], [7, n]): n for n in numbers}
        found: dict[int, str] = {}
        while len(found) < len(numbers):
            found |= {tickets[ticket]: response.text for ticket, response in policy.collect()}
        return found

    together = answers([0, 1, 2])
    assert answers([2, 0, 1]) == together
    assert answers([1]) == {1: together[1]}
    other = policy.submit(REQUESTS[1], [8, 1])
    assert dict(policy.collect())[other].text != together[1]


def test_more_prompts_than_fit_into_one_step_are_answered_alike(opened: Opened) -> None:
    """Prompts of several times the tokens of a step; those that wait are answered as they would have been at once."""
    policy = opened.policy("free", tokens=2)
    many = [Request(f"{number} {LONG * 3}", ACTIONS, None) for number in range(30)]
    assert sum(len(policy.encode_prompt(request.prompt)) for request in many) > 2 * CPU_BATCH
    answers = policy.respond(many, [3])
    ticket = policy.submit(many[-1], [3, 29])
    assert dict(policy.collect())[ticket].text == answers[-1].text


def test_short_answers_come_while_a_long_one_goes_on(opened: Opened) -> None:
    """`collect` returns what is complete and leaves the rest going; `cancel` ends it."""
    long, short = opened.policy("free", tokens=60), opened.policy("free", tokens=1)
    for number in range(3):
        long.submit(REQUESTS[1], [number])
    tickets = [short.submit(REQUESTS[0], [number]) for number in range(2)]
    assert [ticket for ticket, _ in short.collect()] == tickets
    assert opened.engine.llm.llm_engine.get_num_unfinished_requests() == 3
    long.cancel()


def test_the_cache_serves_later_turns_until_the_weights_change(opened: Opened, prepared: Path) -> None:
    """In real episodes the constant beginning of the prompts is found in the cache; after an update nothing is."""
    settings = run_settings(prompt__style="full", prompt__max_tokens=1200)
    benchmark = AlfworldBenchmark(settings.benchmark, prepared / "data")
    rollout = Rollout(benchmark, opened.policy("guided", 0.7), settings.prompt)
    tasks = list(benchmark.tasks("train"))[:2]
    opened.engine.prefix_hit_rate()
    first = rollout.play(tasks, [0, 1], [3])
    rate = opened.engine.prefix_hit_rate()
    assert 0.2 < rate < 1.0
    assert [t.turns[0].prompt for t in first] != [t.turns[1].prompt for t in first]
    again = rollout.play(tasks, [0, 1], [3])
    assert [[turn.response for turn in t.turns] for t in again] == [[turn.response for turn in t.turns] for t in first]
    assert opened.engine.prefix_hit_rate() > rate
    opened.engine.update(opened.decoder.state_dict().items())
    opened.policy("free").respond(REQUESTS[1:2], [0])
    assert opened.engine.prefix_hit_rate() == 0.0
    rollout.close()


def test_threads_can_still_be_set(opened: Opened) -> None:
    """vLLM takes `torch.set_num_threads` away on the CPU; the trainer still has it."""
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    assert torch.get_num_threads() == before + 1
    torch.set_num_threads(before)


def test_a_model_that_vllm_refuses_is_a_user_error(prepared: Path) -> None:
    """More positions than the model has: the message names the folder and what vLLM says."""
    with pytest.raises(UserError, match="max_model_len"):
        VllmEngine(prepared / "warmstart" / "model", Wanted("cpu", "float32", 1 << 20, False, 32))
