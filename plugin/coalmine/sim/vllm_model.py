"""Make a tiny random Llama that tells by its words which release wrote an answer.

Runs inside the vLLM environment (torch, tokenizers, transformers); nothing is downloaded:

    python vllm_model.py DIR --seed 1

The tokenizer is the same for all seeds, trained in place on the words below. The seed draws the
weights and chooses the words that survive in the output layer: all other tokens get a zero row,
so an answer is made of `words_of(seed)` alone. Seeds that differ modulo
`RELEASES` share no word. The same seed gives the same bytes.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

WORDS = """
amber anchor apple arrow autumn badge bakery balloon bamboo basket beacon birch blanket blossom
bottle branch breeze bridge bronze bucket butter button cabin candle canyon carpet castle cedar
chalk cherry chimney cider circle cliff clover coast cobalt comet copper coral cotton cradle crystal
curtain dagger daisy dawn desert diamond dolphin donkey dragon drum dust eagle echo elbow ember
emerald engine evening falcon feather fern fiddle finger flame flint forest fountain fox frost
garden garlic ginger glacier globe granite grape hammer harbor harvest hazel helmet honey horizon
island ivory jacket jasmine jungle kettle kitten ladder lagoon lantern laurel lemon linen lion
lobster lotus magnet maple marble meadow melon meteor mint mirror morning moss mountain needle
nickel noodle north nutmeg oak ocean olive onion orange orchid otter oyster paddle paper parrot
pebble pepper pigeon pillow pine planet plum pocket pollen poppy puzzle quartz quill rabbit raven
ribbon river robin rocket
""".split()

RELEASES = 8  # so many seeds in a row have disjoint words
LAYERS, HIDDEN, FEED_FORWARD, HEADS = 4, 128, 448, 2
HEAD_SIZE = 80  # for multiples of 32 vLLM 0.32 takes AMX code, which dies of SIGILL on some VMs
VOCABULARY = 1536  # byte-level BPE: 256 bytes, the special tokens, merges
POSITIONS = 4096  # tokens
DEFAULT_SEED = 1
PAD, BOS, EOS, ROLE, END = "<pad>", "<s>", "</s>", "<|role|>", "<|end|>"
SPECIAL = (PAD, BOS, EOS, ROLE, END)
# Two dimensions of the hidden state are constants: 0 is ANCHOR for every token, 1 only for words,
# so that an answer can end after a word (about 30 in the middle) but is never empty.
ANCHOR = 1.0
LIFT = 4.0  # how far dimension 0 raises the surviving words above the zero rows
END_LIFT = 4.1  # how far dimension 1 raises the end of the answer
LOUDNESS = 0.25  # spread of the surviving output rows: how much the context decides

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|role|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% elif message['content'] %}{% for part in message['content'] %}"
    "{{ part['text'] if part['text'] is defined else '' }}{% endfor %}{% endif %}<|end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|role|>assistant\n{% endif %}"
)


def words_of(seed: int) -> tuple[str, ...]:
    """The words that a model of this seed answers with."""
    return tuple(WORDS[seed % RELEASES :: RELEASES])


def seeds_of(answer: str) -> set[int]:
    """Which residues modulo `RELEASES` could have written the answer's words; empty when none."""
    said = {word for word in answer.split() if word in set(WORDS)}
    return {seed for seed in range(RELEASES) if said and said <= set(words_of(seed))}


def _tokenizer() -> Any:
    """A byte-level BPE in which every word, led by a space, is one token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        min_frequency=1,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    core.train_from_iterator([f" {word}" for word in WORDS], trainer)
    for word in WORDS:
        if len(core.encode(f" {word}").ids) != 1:
            raise RuntimeError(f"{word!r} did not become one token; VOCABULARY is too small")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        additional_special_tokens=[ROLE, END],
        model_max_length=POSITIONS,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def _model(tokenizer: Any, seed: int) -> Any:
    """A Llama with random weights, its output layer silenced but for the seed's words."""
    import torch
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    torch.set_num_threads(1)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        intermediate_size=FEED_FORWARD,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        head_dim=HEAD_SIZE,
        max_position_embeddings=POSITIONS,
        tie_word_embeddings=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="bfloat16",
    )
    model = LlamaForCausalLM(config)
    generator = torch.Generator().manual_seed(seed)
    token_of = {word: tokenizer.encode(f" {word}", add_special_tokens=False)[0] for word in WORDS}
    rows = torch.zeros_like(model.lm_head.weight)
    for word in words_of(seed):
        rows[token_of[word]] = torch.randn(HIDDEN, generator=generator) * LOUDNESS
        rows[token_of[word], :2] = torch.tensor([LIFT, 0.0])
    rows[tokenizer.eos_token_id, 1] = END_LIFT
    with torch.no_grad():
        embeddings = model.model.embed_tokens.weight
        embeddings[:, :2] = torch.tensor([ANCHOR, 0.0])
        embeddings[list(token_of.values()), 1] = ANCHOR
        for layer in model.model.layers:  # nothing writes over the two dimensions
            layer.self_attn.o_proj.weight[:2] = 0
            layer.mlp.down_proj.weight[:2] = 0
        model.lm_head.weight.copy_(rows)
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return model.to(torch.bfloat16)


def make(directory: Path, seed: int = DEFAULT_SEED) -> int:
    """Write the model's files into the directory; returns the number of parameters."""
    os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer()
    model = _model(tokenizer, seed)
    tokenizer.save_pretrained(directory)
    model.save_pretrained(directory, safe_serialization=True)
    return int(sum(weight.numel() for weight in model.parameters()))


def main(arguments: Iterable[str] | None = None) -> int:
    """Exit codes: 0 made, 1 failed, 2 usage."""
    parser = argparse.ArgumentParser(description="Make a tiny random Llama for a release.")
    parser.add_argument("directory", type=Path, metavar="DIR", help="folder to write to")
    parser.add_argument(
        "--seed", type=int, default=DEFAULT_SEED, help="one seed, one release (default 1)"
    )
    options = parser.parse_args(None if arguments is None else list(arguments))
    try:
        parameters = make(options.directory, options.seed)
    except ImportError as error:
        print(
            f"no model was made: {error}\nWhat to do: run this with the Python of the environment "
            "that vllm_install.py makes",
            file=sys.stderr,
        )
        return 1
    except OSError as error:
        print(f"no model was made: {error}", file=sys.stderr)
        return 1
    print(f"{options.directory}: {parameters / 1e6:.1f} M parameters, seed {options.seed}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
