"""A frozen language model, opened: its parts by name, its answers, its text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, reduce

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.pytorch_utils import Conv1D

from locant.errors import LocantError
from locant.models import hooks
from locant.models.architectures import Architecture
from locant.models.sites import Sites, lay_out
from locant.models.weights import device_of, value_vectors
from locant.queries import Tokens, query, resolve, resolve_prompt, subject_tokens
from locant.types import Provenance, Query, Setting


class LanguageModel:
    """A Hugging Face model with its tokenizer and the names of its parts. Made by `locant.load`.

        lm = locant.load("almanac")
        lm.generate("The capital of France is")

    Attributes:
        layers: number of blocks.
        neurons: neurons per layer.
        hidden: width of the residual stream.
        context: longest sequence, in tokens.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        architecture: Architecture,
        name: str,
        revision: str | None = None,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.architecture = architecture
        self.name = name
        self.revision = revision
        self.blocks = list(model.get_submodule(architecture.blocks).children())
        self.downs = self.parts(architecture.neurons)
        self.layers = len(self.blocks)
        self.neurons = _inputs_of(self.downs[0])
        self.config = model.config.get_text_config(decoder=True)
        self.hidden: int = self.config.hidden_size
        self.context = _context(model)
        # A query is asked many times over, and tokenising it takes longer than a small model's answer
        self._resolve = lru_cache(maxsize=1 << 16)(
            lambda query: resolve(query, tokenizer, architecture.kind, self.context)
        )
        self._answering: Bool[Tensor, "sequence position"] | None = None

    def __repr__(self) -> str:
        return (
            f"LanguageModel({self.name!r}: {type(self.model).__name__}, {self.layers} layers x "
            f"{self.neurons} neurons, {self.model.dtype})"
        )

    @property
    def device(self) -> torch.device:
        """Where token ids are sent."""
        return device_of(self.model.get_input_embeddings())

    def parts(self, name: str) -> list[nn.Module]:
        """The module of this name in every block."""
        return [block.get_submodule(name) for block in self.blocks]

    def value_vectors(self, layer: int) -> Float[Tensor, "neuron hidden"]:
        """What each neuron of a layer writes to the residual stream, per unit of activation."""
        return value_vectors(self.downs[layer], self.neurons, self.model.dtype)

    def tokens(self, query: Query) -> Tokens:
        """The query in this model's tokens, resolved once.

        Raises:
            BadQuery: it cannot be asked of this model.
        """
        return self._resolve(query)

    def prompt_tokens(self, prompt: str, language: str = "en") -> Tokens:
        """A prompt in this model's tokens, with no answer.

        Raises:
            BadQuery: it is empty or too long.
        """
        asked = query(prompt, "", language=language, uid=prompt)
        return resolve_prompt(asked, self.tokenizer, self.architecture.kind, self.context)

    def subject_positions(self, query: Query) -> range:
        """Where the subject's tokens stand in the query's prompt, for a causal model.

        Raises:
            BadQuery: the fact names no subject, or the prompt does not hold it.
        """
        return subject_tokens(query, self.tokenizer)

    def subject_position(self, query: Query) -> int:
        """Where the subject's last token stands; as `subject_positions`."""
        return self.subject_positions(query)[-1]

    def sites(self, queries: Sequence[tuple[Tokens, tuple[int, ...]]]) -> Sites:
        """Queries in tokens, each with the answer to read, as one batch on the model's device."""
        return lay_out(queries, self.architecture.kind, self.tokenizer.mask_token_id).to(self.device)

    def provenance(
        self,
        method: str,
        settings: dict[str, Setting],
        seed: int | None = None,
        parents: tuple[str, ...] = (),
    ) -> Provenance:
        """Who made a result: a method with its settings, on this model."""
        dtype = str(self.model.dtype).removeprefix("torch.")
        return Provenance(method, settings, self.name, self.revision, dtype, seed, parents)

    def inputs(self, sites: Sites) -> dict[str, Tensor]:
        """A batch as the model's keyword arguments."""
        if sites.source is None or sites.source_mask is None:
            return {"input_ids": sites.tokens, "attention_mask": sites.mask.long()}
        return {
            "input_ids": sites.source,
            "attention_mask": sites.source_mask.long(),
            "decoder_input_ids": sites.tokens,
        }

    def run(self, sites: Sites, **more: object) -> None:
        """Pass a batch through the blocks, for the hooks around it to see; no logits where avoidable."""
        with self.answering(sites.answer_positions):
            self.model.base_model(**self.inputs(sites), **more)

    @torch.no_grad()
    def site_logits(self, sites: Sites) -> Float[Tensor, "site vocab"]:
        """Logits at every site, under whatever interventions are in force; at least float32."""
        residual: dict[int, Tensor] = {}
        with hooks.at_rest(self.model), hooks.watching_outputs(self.blocks[-1:], residual.__setitem__):
            self.run(sites)
        at = (sites.sequence.to(residual[0].device), sites.position.to(residual[0].device))
        return at_least_float32(self.readout(residual[0][at]))

    def readout(self, residual: Float[Tensor, "*row hidden"]) -> Float[Tensor, "*row vocab"]:
        """Logits of last-block residuals, as the model itself computes them."""
        spec = self.architecture
        *before, last = [self._readout_module(name) for name in spec.readout]
        hidden = reduce(lambda value, module: module(value), before, residual)
        logits: Tensor = last(_times(hidden, spec.hidden_scale(self.config)))
        cap = spec.logit_cap(self.config)
        if cap is not None:
            logits = torch.tanh(logits / cap) * cap
        return _times(logits, spec.logit_scale(self.config))

    def _readout_module(self, name: str) -> nn.Module:
        module: nn.Module = (
            self.model.get_output_embeddings() if name == "unembedding" else self.model.get_submodule(name)
        )
        return module

    @contextmanager
    def answering(self, positions: Bool[Tensor, "sequence position"] | None) -> Iterator[None]:
        """Say where the forward passes inside read answers; interventions at answers act there."""
        outer = self._answering
        self._answering = positions
        try:
            yield
        finally:
            self._answering = outer

    def answer_positions(self, length: int) -> Bool[Tensor, "sequence position"]:
        """Where the running pass reads answers: as `answering` says, or at the end while text is generated.

        Args:
            length: positions in the running pass.
        """
        if self._answering is not None:
            return self._answering
        if self.architecture.kind == "masked":
            raise LocantError(
                "a masked model's answer position is known only to locant's own calls: "
                "use them, or intervene with positions='all'"
            )
        return torch.arange(length)[None] == length - 1

    @torch.no_grad()
    def generate(self, prompt: str, max_new_tokens: int = 20) -> str:
        """The model's own greedy continuation of a prompt; masked models fill the mask with one token."""
        if self.architecture.kind == "masked":
            return self.top_answers(prompt, 1)[0][0]
        ids = torch.tensor([self.prompt_tokens(prompt).prompt], device=self.device)
        # Without a cache earlier answers would be computed again, and not be where answers are any more
        cached = {} if self.architecture.kind == "seq2seq" else {"use_cache": True}
        with hooks.at_rest(self.model):
            out = self.model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=max_new_tokens,
                do_sample=False,
                **cached,
                pad_token_id=self.tokenizer.pad_token_id or self.tokenizer.eos_token_id or 0,
            )
        new = out[0] if self.architecture.kind == "seq2seq" else out[0, ids.shape[1] :]
        return str(self.tokenizer.decode(new, skip_special_tokens=True))

    def top_answers(self, prompt: str, k: int, language: str = "en") -> list[tuple[str, float]]:
        """The most probable first tokens of the answer, with their probabilities."""
        tokens = self.prompt_tokens(prompt, language)
        best = self.site_logits(self.sites([(tokens, (0,))]))[0].softmax(-1).topk(k)
        return [
            (self.text_of([token]), probability)
            for probability, token in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ]

    def first_word(self, prompt: str, language: str = "en") -> str:
        """The first word the model itself says after a prompt; up to the punctuation where none has spaces.

        Raises:
            LocantError: what it says first is no word. A later word would not be its answer to the prompt.
        """
        if self.architecture.kind == "masked":
            said = self.top_answers(prompt, 1, language)[0][0]
        else:
            said = self.generate(prompt, max_new_tokens=8)
        word = re.match(r"\w[^\s.,;:!?。，、；：！？]*", said.lstrip())
        if word is None or not self._begins_with(prompt, word.group(), language):
            raise LocantError(f"the model says no word after {prompt!r} but {said!r}; say which answer is meant")
        return word.group()

    def _begins_with(self, prompt: str, word: str, language: str) -> bool:
        """Whether a word, as an answer, begins with the token that the model says first: not within a word."""
        (first, *_) = self.tokens(query(prompt, word, language=language)).answers[0]
        sites = self.sites([(self.prompt_tokens(prompt, language), (0,))])
        return int(self.site_logits(sites)[0].argmax()) == first

    def text_of(self, ids: Sequence[int] | Int[Tensor, " token"]) -> str:
        """Token ids as text, without the space that leads a word; white space itself stays."""
        text = str(self.tokenizer.decode(list(map(int, ids))))
        return text.strip() or text


def at_least_float32(values: Tensor) -> Tensor:
    """Half-precision values in float32; float64 stays."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _times(values: Tensor, factor: float) -> Tensor:
    # Logits are the widest thing there is: most models scale them by nothing
    return values if factor == 1 else values * factor


def _inputs_of(down: nn.Module) -> int:
    return int(down.nx if isinstance(down, Conv1D) else down.in_features)  # type: ignore[arg-type]


def _context(model: PreTrainedModel) -> int:
    config = model.config.get_text_config(decoder=True)
    longest = getattr(config, "max_position_embeddings", None)
    if longest is None:  # relative positions only (BLOOM, T5): any length
        return 1 << 30
    if config.model_type in ("roberta", "xlm-roberta"):  # positions start after the padding's own
        return int(longest) - int(config.pad_token_id) - 1
    return int(longest)
