"""Texts that a model writes: in batches, and how varied and how much to the point they are."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from locant.errors import LocantError, UnknownName
from locant.languages import UNSPACED
from locant.models import LanguageModel
from locant.models.hooks import at_rest
from locant.models.sites import pad_left
from locant.queries import Tokens

Generate: TypeAlias = Callable[[Sequence[str]], list[str]]
"""From prompts to what a model writes after each of them."""

AT_ONCE = 64
"""Prompts in one batch."""


@torch.no_grad()
def continue_greedily(lm: LanguageModel, prompts: Sequence[str], tokens: int) -> list[str]:
    """The model's own greedy continuation of each prompt, up to its end of text.

    Args:
        tokens: to be written after each; fewer where the model's context ends.

    Raises:
        LocantError: the model is a masked one, which writes no text.
        BadQuery: a prompt is empty or too long.
    """
    if lm.architecture.kind == "masked":
        raise LocantError(f"{lm.name} is a masked model, which writes no text")
    unique = {prompt: lm.prompt_tokens(prompt) for prompt in dict.fromkeys(prompts)}
    order = sorted(unique, key=lambda prompt: unique[prompt].length)
    written: dict[str, str] = {}
    for start in range(0, len(order), AT_ONCE):
        batch = order[start : start + AT_ONCE]
        written |= zip(batch, _continue(lm, [unique[prompt] for prompt in batch], tokens), strict=True)
    return [written[prompt] for prompt in prompts]


def _continue(lm: LanguageModel, prompts: Sequence[Tokens], tokens: int) -> list[str]:
    ids, mask = pad_left([one.prompt for one in prompts], lm.device)
    given: dict[str, Tensor | int] = {"input_ids": ids, "attention_mask": mask}
    begun = ids.shape[1]
    if lm.architecture.kind == "seq2seq":
        start = [one.start for one in prompts]
        begun = len(start[0])
        given["decoder_input_ids"] = torch.tensor(start, device=lm.device)
        given["decoder_start_token_id"] = start[0][0]
    ends = (lm.tokenizer.pad_token_id, lm.tokenizer.eos_token_id)
    with at_rest(lm.model):
        out = lm.model.generate(
            **given,
            max_new_tokens=max(1, min(tokens, lm.context - begun)),
            do_sample=False,
            # A model's own configuration may forbid it to repeat itself
            repetition_penalty=1.0,
            no_repeat_ngram_size=0,
            # transformers sizes a decoder's cache by the encoder, which may have fewer blocks
            use_cache=lm.architecture.kind != "seq2seq",
            pad_token_id=next((one for one in ends if one is not None), 0),
        )
    return [str(lm.tokenizer.decode(own, skip_special_tokens=True)) for own in out[:, begun:]]


def begins_with(text: str, answers: Sequence[str], language: str = "en") -> bool:
    """Whether a text begins with one of the answers as whole words, whatever their case, marks or quotes before."""
    said = _bare(text)
    return any(_begins(said, _bare(answer), language) for answer in answers)


def _bare(text: str) -> str:
    folded = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return re.sub(r"^[\s\W_]+", "", folded) or folded


def _begins(said: str, answer: str, language: str) -> bool:
    rest = said.removeprefix(answer)
    if not answer or rest == said:
        return False
    return language in UNSPACED or not (answer[-1].isalnum() and rest[:1].isalnum())


def fluency(texts: Sequence[str], language: str = "en") -> float:
    """100 times the mean over texts of (2/3 H2 + 4/3 H3) / 2, Hn the entropy of the text's n-grams of words in bits.

    Words are runs of letters and digits, and each other sign (of scripts without spaces, each character); the
    published code takes NLTK's, which part English contractions too.

    Raises:
        UnknownName: there are no texts.

    Source: Zhang et al. 2018, arXiv:1809.05972, for the entropy; Meng et al. 2022, arXiv:2202.05262, whose code has
    the weights (experiments/py/eval_utils_counterfact.py).
    """
    if not texts:
        raise UnknownName("fluency is of texts, and there are none")
    each = [
        (2 / 3 * ngram_entropy(words, 2) + 4 / 3 * ngram_entropy(words, 3)) / 2
        for words in (_words(text, language) for text in texts)
    ]
    return 100 * sum(each) / len(each)


def ngram_entropy(words: Sequence[str], n: int) -> float:
    """Entropy of the n-grams of some words, in bits; 0 where there are none."""
    counts = Counter(tuple(words[at : at + n]) for at in range(len(words) - n + 1))
    total = counts.total()
    return sum((count / total * math.log2(total / count) for count in counts.values()), 0.0)


def _words(text: str, language: str) -> list[str]:
    pattern = r"\S" if language in UNSPACED else r"\w+|[^\w\s]"
    return re.findall(pattern, text)


def inverse_frequencies(texts: Sequence[str]) -> dict[str, float]:
    """Of each word, ln((1 + texts) / (1 + texts with it)) + 1: the smoothed weights of scikit-learn."""
    counts = Counter(word for text in texts for word in set(_terms(text)))
    return {word: math.log((1 + len(texts)) / (1 + count)) + 1 for word, count in counts.items()}


def reference_score(text: str, reference: str, weights: Mapping[str, float]) -> float:
    """The cosine of two texts' word counts, weighted by `inverse_frequencies`; words without a weight do not count.

    0 where one text has no words that do.

    Source: Meng et al. 2022, arXiv:2202.05262, the reference score.
    """
    one, other = (
        {word: count * weights[word] for word, count in Counter(_terms(part)).items() if word in weights}
        for part in (text, reference)
    )
    lengths = math.hypot(*one.values()) * math.hypot(*other.values())
    return sum(value * other.get(word, 0.0) for word, value in one.items()) / lengths if lengths else 0.0


def _terms(text: str) -> list[str]:
    return re.findall(r"\w\w+", text.lower())
