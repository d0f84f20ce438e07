"""Guided decoding permits exactly the answers that are well formed and admissible."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hiper.config import RunSettings
from hiper.errors import UserError
from hiper.learning.guide import NOT_IN_QUERIES, TAGS, TEXT, Guide, answer_tokens
from hiper.learning.restrict import Restriction
from hiper.plan_execute import CHINESE, FREE_TEXT, continued, parse, parse_react, render, render_react
from hiper.policies.model_policy import offsets_of
from hiper.policies.tokenizer_files import load_tokenizer
from hiper.stages.warmstart import _examples

ACTIONS = ("go to desk 1", "go to desk 10", "look", "take mug 1 from desk 1", f"search[{FREE_TEXT}]")


MERGED = (">\n", "><", ".</", ">f", "[m", "]</", "mug</")  # across the edges of tags


@pytest.fixture(scope="session")
def tokenizers(tokenizer: Any) -> list[Any]:
    """One with the tags as single tokens; two as those of pretrained models, in which a tag is several tokens: one cuts
    text into words first, the other merges across everything."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = [tokenizer]
    for words in (True, False):
        own = Tokenizer(models.BPE())
        own.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=words)
        own.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=330, special_tokens=["<|end|>"], initial_alphabet=alphabet)
        texts = ("go to desk 1", "desk 10", "look", "switch", "subgoal", "action", "think", "search")
        own.train_from_iterator([*MERGED * 9, *texts * 3, "KEEP", "SWITCH"], trainer)
        fast = PreTrainedTokenizerFast(tokenizer_object=own, eos_token="<|end|>", clean_up_tokenization_spaces=False)
        assert all(len(fast.encode(tag)) > 1 for tag in TAGS) and {"><", ".</"} <= fast.get_vocab().keys()
        made.append(fast)
    assert {piece.replace("\n", "\u010a") for piece in MERGED} <= made[-1].get_vocab().keys()
    return made


@pytest.fixture(scope="session")
def guide(tokenizer: Any) -> Guide:
    return Guide(tokenizer, "plan_execute", max_text_tokens=5, end=tokenizer.eos_token_id)


def accepts(guide: Guide, text: str, subgoal: str | None) -> bool:
    """Whether the tokens of `text` and the end token can be produced under the guide."""
    state = guide.start(ACTIONS, subgoal)
    restriction = Restriction(guide, len(guide.tokenizer), "cpu")
    tokens = [*guide.tokenizer.encode(text, add_special_tokens=False), guide.end]
    for place, token in enumerate(tokens):
        logits = restriction.apply(torch.zeros(1, len(guide.tokenizer)), [state.allowed()])
        if torch.isinf(logits[0, token]):
            return False
        if state.advance(token):
            return place == len(tokens) - 1
    return False


def test_well_formed_admissible_answers_are_permitted(guide: Guide) -> None:
    """KEEP with the current subgoal and SWITCH with a new one, each with an admissible action."""
    assert accepts(guide, render(False, "find a mug", "look"), "find a mug")
    assert accepts(guide, render(True, "find", "go to desk 10"), "find a mug")
    assert accepts(guide, render(True, "find", "go to desk 1"), None)


def test_everything_else_is_not(guide: Guide) -> None:
    """KEEP without or with another subgoal, an inadmissible action, a missing block, an empty subgoal."""
    assert not accepts(guide, render(False, "find a mug", "look"), None)
    assert not accepts(guide, render(False, "find a cup", "look"), "find a mug")
    assert not accepts(guide, render(True, "find", "go to desk 2"), None)
    assert not accepts(guide, "<switch>SWITCH</switch><action>look</action>", None)
    assert not accepts(guide, render(True, "", "look"), None)


def test_free_text_in_an_action_is_text_that_cannot_end_it(guide: Guide) -> None:
    """A search takes any words, but not none, no bracket or tag, and nothing behind its end."""
    assert accepts(guide, render(True, "find", "search[mug]"), None)
    assert accepts(guide, render(False, "find", "search[desk]"), "find")
    for query in ("", "a[b", "a<b>c", "a\nb"):
        assert not accepts(guide, render(True, "find", f"search[{query}]"), None), query
    assert not accepts(guide, render(True, "find", "search[mug] desk"), None)
    assert not accepts(guide, render(True, "find", "search[a b c d e f g h i j k l]"), None)  # longer than allowed


def spelled(guide: Guide, text: str) -> list[int]:
    """The text in tokens of one character each: none is a tag's."""
    return [token for character in text for token in guide.encode(character)]


def permits(guide: Guide, tokens: list[int], subgoal: str | None = None) -> bool:
    """Whether these tokens may come first."""
    state, restriction = guide.start(ACTIONS, subgoal), Restriction(guide, len(guide.tokenizer), "cpu")
    for token in tokens:
        logits = restriction.apply(torch.zeros(1, len(guide.tokenizer)), [state.allowed()])
        if torch.isinf(logits[0, token]):
            return False
        state.advance(token)
    return True


def test_free_text_spells_no_tag(tokenizer: Any) -> None:
    """Not even from ordinary tokens, in a subgoal or in a thought: what it would say could be done. Nor does it spell
    characters that make an answer invalid, byte by byte."""
    before = "<switch>SWITCH</switch><subgoal>"
    plan, flat = (Guide(tokenizer, name, 40, tokenizer.eos_token_id) for name in ("plan_execute", "react"))
    for text, permitted in (
        ("a mug > 5, caf\u00e9 \U0001f600", True),
        ("a</subgoal><action>fly</action>", False),
        ("a</think><action>fly</action>", False),
        ("\u4e2d", False),
    ):
        assert permits(plan, [*plan.encode(before), *spelled(plan, text)]) == permitted, text
        assert permits(flat, [*flat.encode("<think>"), *spelled(flat, text)]) == permitted, text


def test_the_classes_of_text_hold_no_tag_and_no_chinese_character(guide: Guide) -> None:
    """Of all tokens, whatever they look like alone; the letters of other languages may still be written."""
    restriction = Restriction(guide, len(guide.tokenizer) + 3, "cpu")
    text = [guide.tokenizer.decode([int(token)]) for token in restriction.masks[TEXT].nonzero().flatten()]
    assert not any("<" in piece or CHINESE.search(piece) for piece in text)
    assert not restriction.masks[TEXT][len(guide.tokenizer) :].any()
    for letter in ("\u00e9", "\u03b1", "\u044f", "\u05d0", "\u0e01", "\uac00", "\U0001f600"):
        assert restriction.masks[TEXT][list(guide.encode(letter))].all()


def test_a_thought_that_the_template_has_opened_is_closed_or_goes_on(tokenizer: Any) -> None:
    """With subgoals it is closed at once; a flat answer begins inside it."""
    end = tokenizer.eos_token_id
    plan, flat = (Guide(tokenizer, name, 5, end, thinking=True) for name in ("plan_execute", "react"))
    assert accepts(plan, "</think>" + render(True, "find", "look"), None)
    assert not accepts(plan, render(True, "find", "look"), None)
    assert accepts(flat, "find</think><action>look</action>", None)
    assert not accepts(flat, "<think>find</think><action>look</action>", None)


def test_what_no_answer_can_name_is_not_offered(guide: Guide) -> None:
    """An action that closes its own block or the answer, or a thought; a state with no other is an error by name, and
    so is one without room for any answer."""
    odd = ("click[a</action>b]", "click[<|end|>]", "click[x</think>]", "click[</ACTION>]")
    state = guide.start((*odd, "look"), None)
    for token in guide.encode(render(True, "a", "")[: -len("</action>")]):
        state.advance(token)
    assert state.allowed() == guide.encode("look")[:1]
    for actions in (odd, ()):
        with pytest.raises(UserError, match="no answer can name an admissible action"):
            guide.start(actions, "find a mug")
    narrow = Guide(guide.tokenizer, "plan_execute", 5, guide.end, limit=8)
    with pytest.raises(UserError, match="max_response_tokens = 8"):
        narrow.start(ACTIONS, None)


LETTERS = ("\u00e9", "\u0130", "\u0300", "\u200b", "\u202e", "\u05d0", "\u00a0", "\U0001f600")
ODD = st.lists(st.sampled_from([*"aB <>[]|/&'\"\t", *LETTERS, "</action>", "<think>", "find"]), max_size=8).map("".join)


@settings(max_examples=150)
@given(
    which=st.integers(0, 2),
    source=st.integers(0, 2**32 - 1),
    subgoal=st.none() | st.just("find a mug") | ODD,
    names=st.lists(ODD, max_size=3),
    interface=st.sampled_from(["plan_execute", "react"]),
    thinking=st.booleans(),
    limit=st.sampled_from([24, 40, 60, 80, 1000]),
)
def test_any_guided_sample_is_valid_and_admissible(
    tokenizers: list[Any],
    which: int,
    source: int,
    subgoal: str | None,
    names: list[str],
    interface: str,
    thinking: bool,
    limit: int,
) -> None:
    """Whatever is drawn uniformly from the permitted sets ends within the limit, parses as valid and names an
    admissible action; whatever options are called, and however the tokenizer cuts tags. The blocks' spans hold exactly
    the blocks' tokens."""
    tokenizer = tokenizers[which]
    guide = Guide(tokenizer, interface, 5, tokenizer.eos_token_id, thinking, limit)
    random, restriction = np.random.default_rng(source), Restriction(guide, len(tokenizer), "cpu")
    actions = (*ACTIONS, *(f"click[{name.lower()}]" for name in names))
    subgoal = (subgoal or "").strip() or None
    try:
        state, tokens, over = guide.start(actions, subgoal), list[int](), False
    except UserError as error:
        assert f"max_response_tokens = {limit}" in str(error) and limit < 60 and which > 0
        return
    while not over:
        logits = restriction.apply(torch.zeros(1, len(tokenizer)), [state.allowed()])
        tokens.append(int(random.choice(torch.isfinite(logits[0]).nonzero().flatten().numpy())))
        over = state.advance(tokens[-1])
        assert len(tokens) <= limit
    answer, offsets = offsets_of(tokenizer, tokens, {guide.end})
    parsed = (parse if interface == "plan_execute" else parse_react)(answer, offsets, thinking=thinking)
    assert parsed.valid, (answer, parsed.problems)
    for tag in ("switch", "subgoal", "action"):
        span, characters = getattr(parsed, f"{tag}_span"), getattr(parsed, f"{tag}_characters")
        if span is not None:
            block = tokenizer.decode(tokens[slice(*span)], skip_special_tokens=False)
            assert block == answer[slice(*characters)] and block.startswith(f"<{tag}>")
    searched = parsed.action.startswith("search[") and parsed.action.endswith("]")
    assert parsed.action in actions or (searched and not set(parsed.action[7:-1]) & set(NOT_IN_QUERIES))
    if interface == "plan_execute" and not parsed.switch:
        assert parsed.subgoal == subgoal


@pytest.mark.parametrize("thinking", [False, True])
def test_what_is_demonstrated_may_be_sampled(small_pipeline: Path, small_settings: RunSettings, thinking: bool) -> None:
    """Every demonstrated answer has a probability under the guide, in the tokens that the warm start trains; where the
    template opens a thought, the answer begins by closing it."""
    made = load_tokenizer(small_pipeline / "tokenizer")
    made.chat_template += "<think>\n" if thinking else ""
    text_tokens = small_settings.decoding.max_text_tokens
    guide = Guide(made, "plan_execute", text_tokens, made.eos_token_id, thinking)
    masks = Restriction(guide, len(made), "cpu").masks
    for example in _examples(small_settings, small_pipeline / "demonstrations" / "demonstrations.jsonl", made)[0]:
        prompt, answer = example.tokens[: example.start].tolist(), example.tokens[example.start :].tolist()
        text = made.decode(answer[:-1])
        parsed = parse(text, thinking=thinking)
        assert parsed.valid and text.startswith("</think><switch>" if thinking else "<switch>")
        assert made.decode(prompt).endswith("<think>" if thinking else "assistant\n")
        state = guide.start([parsed.action], parsed.subgoal)
        for token in answer:
            allowed = state.allowed()
            assert masks[allowed][token] if allowed in masks else token in allowed
            over = state.advance(token)
        assert over


PIECES = ["find", " a", "mug", ".", "F"]
TEXTS = st.lists(st.sampled_from([*PIECES, "\n", ">", "]", "["]), min_size=1, max_size=4).map("".join)
QUERIES = st.lists(st.sampled_from(PIECES), min_size=1, max_size=4).map("".join)


@settings(max_examples=40)
@given(which=st.integers(1, 2), kept=st.booleans(), text=TEXTS, query=QUERIES, thinking=st.booleans())
def test_what_is_trained_may_be_sampled_where_a_tag_is_several_tokens(
    tokenizers: list[Any], which: int, kept: bool, text: str, query: str, thinking: bool
) -> None:
    """In the tokens in which the warm start writes it, though the tokenizer would merge some across tags."""
    tokenizer, text = tokenizers[which], text.strip() or "x"
    flat = Guide(tokenizer, "react", 40, tokenizer.eos_token_id, thinking)
    plan = Guide(tokenizer, "plan_execute", 40, tokenizer.eos_token_id, thinking)
    for action in (f"search[{query.lower()}]", "go to desk 10"):
        for guide, canonical in ((plan, render(not kept, text, action)), (flat, render_react(text, action))):
            answer = continued(canonical, thinking)
            [tokens] = answer_tokens(tokenizer, [answer])
            assert tokenizer.decode(tokens) == answer
            assert permits(guide, [*tokens, guide.end], text), (answer, tokenizer.convert_ids_to_tokens(tokens))


def test_a_token_across_an_edge_belongs_to_both_blocks_in_free_text(tokenizers: list[Any]) -> None:
    """What a model writes on its own may be merged; then the spans are of all tokens that hold a part of the block."""
    text = "<switch>KEEP</switch>\n<subgoal>find.</subgoal>\n<action>look</action>"
    tokens = tokenizers[2].encode(text)
    assert offsets_of(tokenizers[2], tokens, set())[0] == text
    parsed = parse(text, offsets_of(tokenizers[2], tokens, set())[1])
    pieces = [tokenizers[2].decode(tokens[slice(*span)]) for span in (parsed.switch_span, parsed.subgoal_span)]
    assert pieces == ["<switch>KEEP</switch>\n", "<subgoal>find.</subgoal>\n"]
