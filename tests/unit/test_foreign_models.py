"""Folders that others made: what their files say is followed as `transformers` follows it, or refused by name, and is
still there when the model is saved.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from damage import edited
from hypothesis import given, settings
from hypothesis import strategies as st
from pipeline import run_settings
from safetensors.torch import load_file, save_file

from hiper.config import Decoding
from hiper.errors import UserError
from hiper.learning.decoder import Decoder, DecoderShape, Packing
from hiper.learning.folders import WEIGHTS, load_decoder, save_decoder
from hiper.learning.model_files import end_tokens
from hiper.plan_execute import opens_thought
from hiper.policies.base import Request
from hiper.policies.local import LocalPolicy
from hiper.policies.tokenizer_files import Chat, chat_frame, load_tokenizer
from hiper.policies.usable import usable_tokenizer
from hiper.records import read_json, write_json

IDS = np.arange(300, dtype=np.int32) % 60 + 3
SIZES = {
    **{"vocab_size": 64, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
    **{"num_key_value_heads": 1, "max_position_embeddings": 512, "rms_norm_eps": 1e-6, "tie_word_embeddings": True},
}
# As Qwen2.5's, saved by transformers 4.
PLAIN: dict[str, Any] = {
    **{"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_act": "silu", "attention_dropout": 0.0},
    **{"bos_token_id": 1, "eos_token_id": 2, "initializer_range": 0.02, "max_window_layers": 21, "rope_theta": 10000.0},
    **{"sliding_window": 131072, "torch_dtype": "float32", "transformers_version": "4.43.1", "use_cache": True},
    **{"use_sliding_window": False, "use_mrope": False},
    **SIZES,
}
YARN = {"factor": 4.0, "original_max_position_embeddings": 128}
FOLLOWED: list[dict[str, Any]] = [
    {"rope_scaling": None},
    {"rope_scaling": {"type": "default"}},
    {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}},
    {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}, "rope_theta": None},
    {"rope_theta": 1000000.0},
    {"partial_rotary_factor": 1.0},
    {"head_dim": 8},
    {"layer_types": ["full_attention", "full_attention"]},
    {"sliding_window": 8, "max_window_layers": 0},
    {"rms_norm_eps": 0.01},
    {"attention_bias": True},
    {"is_causal": True},
    {"quantization_config": None},
    {"architectures": None},
    {"eos_token_id": [2, 3], "pad_token_id": 0},
    {"temperature": 0.7, "repetition_penalty": 1.05},
    {"unsloth_fixed": True, "_name_or_path": "x/y", "id2label": {"0": "a"}},
]
# Here the library decides: where it computes something else, this decoder must refuse.
DOUBTFUL: list[dict[str, Any]] = [
    {"rope_scaling": {"type": "yarn", **YARN}},
    {"rope_scaling": {"rope_type": "yarn", **YARN}},
    {"rope_scaling": {"type": "linear", "factor": 4.0}},
    {"rope_scaling": {"type": "dynamic", "factor": 4.0}},
    {"rope_scaling": {"type": "yarn", **YARN}, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}},
    {"rope_scaling": {"rope_type": "default"}, "rope_parameters": {"rope_type": "default", "rope_theta": 5e5}},
    {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}},
    {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}},
    {"partial_rotary_factor": 0.5},
    {"layer_types": ["full_attention", "sliding_attention"], "sliding_window": 8, "use_sliding_window": True},
    {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 0},
    {"per_layer_config": {"1": {"rms_norm_eps": 0.5}}},
    {"hidden_act": "gelu"},
    {"attention_dropout": 0.1},
    {"attention_bias": False},
    {"tie_word_embeddings": False},
    {"architectures": ["Qwen2ForSequenceClassification"]},
    {"auto_map": {"AutoModelForCausalLM": "modeling_own.Own"}},
    {"logit_scale": 2.0},
]


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the library's own random weights, in float32, large enough to tell rotary embeddings apart."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("foreign")
    Qwen2ForCausalLM(Qwen2Config(**SIZES, initializer_range=0.5)).save_pretrained(folder)
    write_json(folder / "config.json", PLAIN)
    (folder / "generation_config.json").unlink()
    return folder


def logits(decoder: Decoder) -> torch.Tensor:
    with torch.no_grad():
        hidden, _ = decoder.model.hidden(Packing.of([IDS], [np.arange(len(IDS))]))
        return decoder.logits(hidden)


def library_logits(folder: Path) -> torch.Tensor:
    from transformers import AutoModelForCausalLM

    with torch.no_grad():
        found: torch.Tensor = AutoModelForCausalLM.from_pretrained(folder)(torch.as_tensor(IDS[None]).long()).logits[0]
    return found


def require_the_same_or_refused(folder: Path, said: dict[str, Any]) -> bool:
    """Whether the folder is read; then with the library's logits, else with a message that names a key of `said`."""
    write_json(folder / "config.json", PLAIN | said)
    try:
        ours, theirs = logits(load_decoder(folder)), library_logits(folder)
    except UserError as error:
        assert str(folder) in str(error) and any(key in str(error) for key in said), error
        return False
    finally:
        write_json(folder / "config.json", PLAIN)
    assert torch.allclose(ours, theirs, atol=1e-4 * float(theirs.abs().max())), said
    return True


@pytest.mark.parametrize("said", FOLLOWED + DOUBTFUL, ids=str)
def test_a_key_is_followed_as_the_library_does_or_refused_by_name(foreign: Path, said: dict[str, Any]) -> None:
    """Logits at 300 positions; what has no effect, or the one that is followed here, is not refused."""
    assert require_the_same_or_refused(foreign, said) or said not in FOLLOWED


@given(st.lists(st.sampled_from(FOLLOWED + DOUBTFUL), min_size=2, max_size=3))
@settings(max_examples=40)
def test_keys_together_are_followed_or_refused_as_well(foreign: Path, chosen: list[dict[str, Any]]) -> None:
    """Two or three of them at once, the later ones over the earlier."""
    merged = {key: value for one in chosen for key, value in one.items()}
    require_the_same_or_refused(foreign, merged)


def test_a_key_that_nobody_here_knows_is_refused(foreign: Path, tmp_path: Path) -> None:
    """Unless it says that there is nothing."""
    for value in (3, "x", True, {"a": 1}, 0.5):
        assert not require_the_same_or_refused(foreign, {"invented_scaling": value})
    for value in (None, False, [], {}):
        assert require_the_same_or_refused(foreign, {"invented_scaling": value})


def test_buffers_of_old_files_are_left_out_and_other_prefixes_are_explained(foreign: Path, tmp_path: Path) -> None:
    """`inv_freq` follows from config.json; a base model or adapters have no tensor that is called as it should be."""
    folder = Path(shutil.copytree(foreign, tmp_path / "old"))
    weights = load_file(folder / WEIGHTS)
    buffers = {f"model.layers.{layer}.self_attn.rotary_emb.inv_freq": torch.ones(4) for layer in range(2)}
    save_file(weights | buffers, folder / WEIGHTS)
    assert torch.equal(logits(load_decoder(folder)), logits(load_decoder(foreign)))
    save_file({name.removeprefix("model."): value for name, value in weights.items()}, folder / WEIGHTS)
    with pytest.raises(UserError, match=r"no tensor is called model\.layers\.…, the first is 'embed_tokens\.weight'"):
        load_decoder(folder)


def test_a_saved_model_keeps_what_was_read(foreign: Path, tmp_path: Path) -> None:
    """Everything in config.json but the type of the weights, generation settings, templates; and a second time."""
    source = Path(shutil.copytree(foreign, tmp_path / "source"))
    said = {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}, "torch_dtype": "bfloat16"}
    config = {key: value for key, value in PLAIN.items() if key != "rope_theta"} | said
    write_json(source / "config.json", config)
    generation = {"bos_token_id": 1, "eos_token_id": [2, 3], "temperature": 0.7, "top_p": 0.8}
    write_json(source / "generation_config.json", generation)
    for name in ("chat_template.jinja", "added_tokens.json"):
        (source / name).write_text("{}")
    for folder, before in ((tmp_path / "a", source), (tmp_path / "b", tmp_path / "a")):
        save_decoder(load_decoder(before), folder, before, eos_token_id=3, pad_token_id=0)
        assert read_json(folder / "config.json") == config | {"torch_dtype": "float32", "dtype": "float32"}
        assert read_json(folder / "generation_config.json") == generation | {"eos_token_id": [3, 2]}
        assert (folder / "chat_template.jinja").exists() and (folder / "added_tokens.json").exists()
        assert torch.allclose(logits(load_decoder(folder)), library_logits(folder), atol=1e-3)


def test_end_tokens_are_those_that_the_library_would_take(tmp_path: Path) -> None:
    """generation_config.json before config.json; neither, one, several; nonsense is refused by name."""
    assert end_tokens(tmp_path) == ()
    write_json(tmp_path / "config.json", {"eos_token_id": 2})
    assert end_tokens(tmp_path) == (2,)
    for said, found in ((None, ()), (5, (5,)), ([5, 2, 5], (5, 2))):
        write_json(tmp_path / "generation_config.json", {"eos_token_id": said, "temperature": 0.7})
        assert end_tokens(tmp_path) == found
    for wrong in ("2", [2.0], [True], [-1], {"a": 1}):
        write_json(tmp_path / "generation_config.json", {"eos_token_id": wrong})
        with pytest.raises(UserError, match=r"generation_config\.json: `eos_token_id` = "):
            end_tokens(tmp_path)
    write_json(tmp_path / "generation_config.json", {"stop_strings": ["\n"]})
    with pytest.raises(UserError, match="stop_strings"):
        end_tokens(tmp_path)


@pytest.fixture
def folder(copied_pipeline: Path) -> Path:
    """A model folder with a tokenizer, to be changed as others may have made it."""
    return copied_pipeline / "warmstart" / "model"


def test_every_end_token_of_the_folder_ends_an_answer(folder: Path) -> None:
    """Qwen2.5-Instruct names two: neither is followed by more tokens, and neither is text."""
    own = int(load_tokenizer(folder).eos_token_id)
    other = int(load_tokenizer(folder).convert_tokens_to_ids("a"))
    write_json(folder / "generation_config.json", {"eos_token_id": [own, other]})
    tokenizer = load_tokenizer(folder)
    decoder = Decoder(DecoderShape(len(tokenizer), 8, 8, 1, 1, 1, True, 600, 1e4, 1e-6))
    decoder.initialize(torch.Generator().manual_seed(0), deviation=0.0)  # every token is as likely as the others
    decoding = Decoding(mode="free", temperature=1.0, max_response_tokens=400, max_text_tokens=5)
    policy = LocalPolicy(decoder, tokenizer, decoding, "plan_execute", 100, "cpu")
    last = set()
    for number, answer in enumerate(policy.respond([Request("x", ("look",), None)] * 32, [1])):
        assert answer.generation is not None
        *before, end = answer.generation.response_tokens.tolist()
        assert not {own, other} & set(before), number
        last.add(end)
        if end in (own, other):
            assert answer.text == policy.decode(before)[0] and len(answer.offsets) == len(before) + 2
    assert {own, other} <= last


def test_weights_that_other_tools_would_read_otherwise_are_refused(foreign: Path, tmp_path: Path) -> None:
    """A single file beside an index that lists others (the library takes the file), adapters beside the weights (it
    adds them); an index of the file itself is as good as none."""
    folder = tmp_path / "model"
    shutil.copytree(foreign, folder)
    listed = dict.fromkeys(load_file(folder / WEIGHTS), WEIGHTS)
    write_json(folder / f"{WEIGHTS}.index.json", {"weight_map": listed})
    load_decoder(folder)
    shutil.copyfile(folder / WEIGHTS, folder / "part.safetensors")
    write_json(folder / f"{WEIGHTS}.index.json", {"weight_map": dict.fromkeys(listed, "part.safetensors")})
    with pytest.raises(UserError, match=r"has model\.safetensors and the weights that .* lists; keep one"):
        load_decoder(folder)
    (folder / WEIGHTS).unlink()
    load_decoder(folder)
    write_json(folder / "adapter_config.json", {"peft_type": "LORA"})
    with pytest.raises(UserError, match=r"adapter_config\.json: adapters lie beside the weights"):
        load_decoder(folder)


def test_an_end_token_that_the_tokenizer_does_not_have_is_refused(folder: Path) -> None:
    """By the file that names it: no answer could end with it."""
    for number in (600, 99999, 1 << 40):
        edited(folder / "generation_config.json", eos_token_id=[2, number])
        with pytest.raises(UserError, match=rf"generation_config\.json: eos_token_id names the token {number}, which"):
            load_tokenizer(folder)


def test_a_template_that_repeats_the_message_or_writes_the_date_is_refused(folder: Path) -> None:
    """Prompts are put together of what stands before and behind one message, the same on every day."""
    message = "{{ messages[0]['content'] }}"
    for template, words in (
        (f"{message}\n{message}", "does not show the user's message 2 times"),
        (f"Today: {{{{ strftime_now('%d %b %Y') }}}}\n{message}", "writes the date into every prompt"),
    ):
        edited(folder / "tokenizer_config.json", chat_template=template)
        with pytest.raises(UserError, match=rf"tokenizer_config\.json: the .*chat template {words}"):
            load_tokenizer(folder)


CHATML = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}<|im_start|>"
BEGUN = "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nBe good.<|im_end|>\n{% endif %}"
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
THINKING = (
    "assistant\n{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}"
)


def test_chat_templates_are_asked_for_what_the_settings_want(folder: Path) -> None:
    """A system message of its own or that of the settings; thoughts only where they are wanted (Qwen3); what a template
    cannot show is an error."""

    def frame(template: str, chat: Chat | None = None) -> tuple[str, str]:
        edited(folder / "tokenizer_config.json", chat_template=template)
        return chat_frame(load_tokenizer(folder), chat or Chat())

    own = "<|im_start|>system\nAct.<|im_end|>\n<|im_start|>user\n"
    assert frame(BEGUN + CHATML)[0] == "<|im_start|>system\nBe good.<|im_end|>\n<|im_start|>user\n"
    assert frame(BEGUN + CHATML, Chat(system="Act."))[0] == frame(CHATML, Chat(system="Act."))[0] == own
    assert frame(CHATML)[0] == "<|im_start|>user\n"
    assert frame(CHATML + THINKING)[1].endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert frame(CHATML + THINKING, Chat(thinking=True))[1].endswith("<|im_start|>assistant\n")
    settings = run_settings(prompt__system="Act.", decoding__mode="free")
    for template, words in (
        (NO_SYSTEM + CHATML, "System role not supported"),
        ("{{ messages[-1]['content'] }}", "does not show a system message"),
    ):
        frame(template)
        with pytest.raises(UserError, match=words):
            usable_tokenizer(settings, folder)


def test_limits_in_a_tokenizer_do_not_cut_prompts(folder: Path) -> None:
    """A saved truncation or padding, and a maximal length shorter than a prompt."""
    text = "go to desk 1 and then go on " * 50
    wanted = load_tokenizer(folder).encode(text, add_special_tokens=False)
    truncation = {"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0}
    padding = {"strategy": {"Fixed": 4096}, "direction": "Right", "pad_to_multiple_of": None}
    padding |= {"pad_id": 0, "pad_type_id": 0, "pad_token": "<|endoftext|>"}
    edited(folder / "tokenizer.json", truncation=truncation, padding=padding)
    edited(folder / "tokenizer_config.json", model_max_length=8)
    tokenizer = load_tokenizer(folder)
    assert tokenizer.encode(text, add_special_tokens=False) == wanted
    assert tokenizer([text, "a"], add_special_tokens=False)["input_ids"][0] == wanted


@pytest.mark.parametrize(
    "part", [{"normalizer": {"type": "Lowercase"}}, {"decoder": None}, {"decoder": {"type": "Fuse"}}]
)
def test_a_tokenizer_that_changes_text_is_refused(folder: Path, part: dict[str, Any]) -> None:
    """Without upper-case letters or spaces answers cannot be read."""
    edited(folder / "tokenizer.json", **part)
    with pytest.raises(UserError, match=r"tokenizer\.json: changes the text that it encodes"):
        load_tokenizer(folder)


def test_a_template_that_begins_a_thought_is_noticed(folder: Path) -> None:
    """As those of reasoning models do."""
    assert not opens_thought(chat_frame(load_tokenizer(folder))[1])
    template = read_json(folder / "tokenizer_config.json")["chat_template"]
    opened = template.replace("<|im_start|>assistant\n", "<|im_start|>assistant\n<think>\n")
    edited(folder / "tokenizer_config.json", chat_template=opened)
    assert opens_thought(chat_frame(load_tokenizer(folder))[1])
    edited(folder / "tokenizer_config.json", chat_template=opened.replace("<think>\n", "<think>\nOkay, "))
    assert opens_thought(chat_frame(load_tokenizer(folder))[1])


def test_demonstrations_are_a_chat_data_set(small_pipeline: Path) -> None:
    """What loaders of chat data sets take: each line an object with `messages` of a role and a content, the model's
    last; and every line has the same keys, of the same types."""
    lines = (small_pipeline / "demonstrations" / "demonstrations.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert {tuple((key, type(value)) for key, value in sorted(row.items())) for row in rows[1:]} == {
        tuple((key, type(value)) for key, value in sorted(rows[0].items()))
    }
    for row in rows:
        assert [message["role"] for message in row["messages"]][-2:] == ["user", "assistant"]
        assert all(set(message) == {"role", "content"} and message["content"] for message in row["messages"])
