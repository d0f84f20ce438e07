"""The check that every policy backend is put through: it raises AssertionError naming the violated clause."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hiper.policies.base import Policy, Request, Response


def check_policy(policy: Policy, requests: Sequence[Request]) -> list[Response]:
    """Ask twice with one seed and once in another order; returns the first answers."""
    answers = policy.respond(requests, [1, 2])
    assert len(answers) == len(requests), "one response per request"
    again = policy.respond(requests, [1, 2])
    assert [a.text for a in answers] == [a.text for a in again], "same requests and seed give the same responses"
    assert policy.respond([], [1, 2]) == [], "no requests give no responses"
    for answer in answers:
        _check_response(answer)
    return answers


def _check_response(answer: Response) -> None:
    if answer.offsets is None or answer.generation is None:
        assert answer.offsets is None and answer.generation is None, "offsets and tokens come together"
        return
    generation, offsets = answer.generation, np.array(answer.offsets)
    count = len(generation.response_tokens)
    assert count > 0, "a response has at least one token"
    assert len(offsets) == count + 1, "one offset per token and the end"
    assert offsets[0] == 0 and offsets[-1] == len(answer.text), "offsets run from 0 to the length of the text"
    assert (np.diff(offsets) >= 0).all(), "offsets never fall"
    assert generation.logprobs.shape == (count,), "one log probability per token"
    assert (generation.logprobs <= 1e-5).all(), "log probabilities are not positive"
    assert generation.allowed is None or len(generation.allowed) == count, "one permitted set per token"
