"""The tokenizer that the three models share: byte-level BPE, trained on what they read."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

BOS, EOS, PAD, MASK = "<s>", "</s>", "<pad>", "<mask>"
BOS_ID, EOS_ID, PAD_ID, MASK_ID = range(4)
CONTEXT = 512


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """Byte-level BPE that starts a text with BOS; Chinese and Japanese characters stand alone, Katakana words whole.

    No token runs across the border of a Chinese or Japanese prompt and its answer, because a prompt ends in
    a character of its own.
    """
    tokenizer = Tokenizer(models.BPE())
    alone = pre_tokenizers.Split(Regex(r"[\p{Han}\p{Hiragana}]|[\p{Katakana}ー・]+"), "isolated")
    words = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([alone, words])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[BOS, EOS, PAD, AddedToken(MASK, lstrip=True, special=True)],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def start_texts(tokenizer: Tokenizer, masked: bool) -> Tokenizer:
    """What the tokenizer puts around a text: BOS before it, and EOS behind it where the model reads both ways."""
    end = f" {EOS}" if masked else ""
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A{end}",
        pair=f"{BOS} $A $B{end}",
        special_tokens=[(BOS, BOS_ID), (EOS, EOS_ID)],
    )
    return tokenizer


def ids_of(tokenizer: Tokenizer, text: str) -> list[int]:
    """The tokens of a text, without the marks around it."""
    found: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return found
