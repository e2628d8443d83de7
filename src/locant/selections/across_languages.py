"""Neurons of a fact in every language, and neurons of a fact in one language alone.

    own = by_language(found)
    shared = agreed(own, queries, least=len(found))
    french = language_specific(own, found.languages, "fr", queries)

Two readings of language-agnostic are here: high in one score that already prices disagreement between languages
(`language_agnostic`), and high in enough languages' own scores (`agreed`; of all of them, the intersection). The
second may well be empty, and finds neurons that the first does not: compare them at equal sizes (`size`).

Source: MATRICE (arXiv:2411.17401) for what is looked for; its rule was not at hand, and all of this is inferred. The
intersection of each language's own set is AMIG's (arXiv:2308.13198).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float, Num
from torch import Tensor

from locant.errors import UnknownName
from locant.types import Provenance, Query, Selection, Setting, hash_of

Share: TypeAlias = float | Mapping[str, float]
"""Of the highest score, for all languages or by language; AMIG's code has 0.3 for English, 0.2 for Chinese."""


def language_agnostic(
    scores: Float[Tensor, "layer neuron"],
    queries: Sequence[Query],
    *,
    share: float | None = None,
    size: int | None = None,
    parents: Sequence[str] = (),
) -> Selection:
    """The neurons whose score over all languages is high; each weighs its score.

    None where no score is above zero: the languages then agree on no neuron.

    Args:
        scores: S of `over_languages`.
        share: take scores of more than this share of the highest; 0.2 (inferred) if no size is given either.
        size: take this many, the highest, even where some of them are not above zero; of equal ones, the first.
        parents: digests of what the scores were made from.

    Raises:
        UnknownName: both share and size are given, one makes no sense, or a score is not finite.
    """
    if share is not None and size is not None:
        raise UnknownName("language_agnostic takes either a share or a size, not both")
    own = _checked(scores[None])[0]
    highest = own.max()
    if size is None:
        share = 0.2 if share is None else share
        chosen = own > _share(share) * highest
    else:
        _refuse_size(size, own)
        order = own.flatten().argsort(descending=True, stable=True)
        chosen = torch.zeros_like(own, dtype=torch.bool)
        chosen.view(-1)[order[:size]] = bool(highest > 0)
    settings: dict[str, Setting] = {"share": share, "size": size}
    return _selection("language_agnostic", chosen, own[chosen], queries, settings, parents, own)


def agreed(
    by_language: Float[Tensor, "language layer neuron"],
    queries: Sequence[Query],
    *,
    least: int,
    share: Share = 0.2,
    size: int | None = None,
    languages: Sequence[str] = (),
    parents: Sequence[str] = (),
) -> Selection:
    """The neurons that pass in at least so many languages; each weighs the number of languages in which it does.

    A neuron passes in a language if its score there is more than a share of the language's highest; where no
    score is above zero, none does.

    Args:
        by_language: S_k of `by_language`.
        least: of the languages, so many; all of them is AMIG's intersection.
        share: for each language its own, if it is a mapping; 0.2 is inferred.
        size: keep at most this many: those of the most languages; of equal ones, those with the highest mean over
            languages; of equal ones again, the first.
        languages: the names of the languages, in their order; a share by language needs them.
        parents: digests of what the scores were made from.

    Raises:
        UnknownName: there are not so many languages, a language has no share, a share or the size makes no sense,
            or a score is not finite.
    """
    own = _checked(by_language)
    if not 1 <= least <= len(own):
        raise UnknownName(f"no neuron can pass in {least} of {len(own)} languages; 1 to {len(own)} can be asked for")
    count = _passed(own, share, languages).sum(dim=0)
    chosen = count >= least
    if size is not None:
        _refuse_size(size, own[0])
        chosen = _first(chosen, size, own.mean(dim=0), count)
    settings: dict[str, Setting] = {"least": least, **_named(share), "size": size}
    return _selection("agreed", chosen, count[chosen].double(), queries, settings, parents, own)


def agreement_sizes(
    by_language: Float[Tensor, "language layer neuron"], share: Share = 0.2, languages: Sequence[str] = ()
) -> tuple[int, ...]:
    """How many neurons pass in at least 1, 2, ... all languages: the sizes of `agreed` for every `least`.

    Raises:
        UnknownName: as for `agreed`.
    """
    own = _checked(by_language)
    count = _passed(own, share, languages).sum(dim=0)
    return tuple(int((count >= least).sum()) for least in range(1, len(own) + 1))


def language_specific(
    by_language: Float[Tensor, "language layer neuron"],
    languages: Sequence[str],
    language: str,
    queries: Sequence[Query],
    *,
    share: float = 0.2,
    low: float = 0.1,
    size: int | None = None,
    parents: Sequence[str] = (),
) -> Selection:
    """The neurons that pass in one language and are low in all others; each weighs its score in that language.

    Low is at most a share of the language's highest score; where that is not above zero, no neuron stands out, and
    all count as low. With low at most share, no neuron is specific to two languages.

    Args:
        by_language: S_k of `by_language`.
        languages: the names of the languages, in their order.
        language: whose neurons to look for.
        share: of the highest score of that language, to pass; 0.2 is inferred.
        low: of the highest score of each other language; 0.1, half of share, is ours.
        size: keep at most this many, the highest; of equal ones, the first.
        parents: digests of what the scores were made from.

    Raises:
        UnknownName: no such language or another one of its name, no other language, low or share or size makes no
            sense, or a score is not finite.
    """
    own = _checked(by_language)
    names = _names(own, languages)
    if names.count(language) != 1 or len(names) < 2:
        raise UnknownName(f"{language!r} is not one of several different languages: there are {', '.join(names)}")
    if not 0 <= low <= _share(share):
        raise UnknownName(f"low is at least 0 and at most the share {share}, not {low}")
    here = names.index(language)
    highest = own.amax(dim=(1, 2), keepdim=True)
    fits = own <= low * highest  # everywhere, where the highest is not above zero
    fits[here] = own[here] > share * highest[here]
    chosen = fits.all(dim=0)
    if size is not None:
        _refuse_size(size, own[0])
        chosen = _first(chosen, size, own[here])
    settings: dict[str, Setting] = {"language": language, "share": share, "low": low, "size": size}
    settings["languages"] = ", ".join(names)
    return _selection("language_specific", chosen, own[here][chosen], queries, settings, parents, own)


# Steps


def _passed(
    own: Float[Tensor, "language layer neuron"], share: Share, languages: Sequence[str]
) -> Bool[Tensor, "language layer neuron"]:
    """Where a score is more than its language's share of the highest."""
    if isinstance(share, Mapping):
        names = _names(own, languages)
        lost = [name for name in names if name not in share]
        if lost:
            raise UnknownName(f"there is no share for {lost[0]!r}, only for {', '.join(share) or 'none'}")
        shares = [_share(share[name]) for name in names]
    else:
        shares = [_share(share)] * len(own)
    # Strictly more than a share below 1 of a highest score that is not above zero, there is nothing
    least = own.amax(dim=(1, 2), keepdim=True) * torch.tensor(shares, dtype=own.dtype)[:, None, None]
    return own > least


def _first(
    chosen: Bool[Tensor, "layer neuron"],
    size: int,
    *keys: Num[Tensor, "layer neuron"],
) -> Bool[Tensor, "layer neuron"]:
    """Of the chosen, the highest by the last key, of equal ones by the one before it."""
    units = chosen.nonzero()
    for key in keys:
        layer, neuron = units.T
        units = units[key[layer, neuron].argsort(descending=True, stable=True)]
    kept = torch.zeros_like(chosen)
    kept[tuple(units[:size].T)] = True
    return kept


def _selection(
    method: str,
    chosen: Bool[Tensor, "layer neuron"],
    weight: Float[Tensor, " unit"],
    queries: Sequence[Query],
    settings: Mapping[str, Setting],
    parents: Sequence[str],
    values: Tensor,
) -> Selection:
    made_by = Provenance(method, {**settings, "values": hash_of(values)}, parents=tuple(parents))
    layers, neurons = chosen.shape
    return Selection(tuple(queries), chosen.nonzero(), weight, (layers, neurons), made_by)


def _named(share: Share) -> dict[str, Setting]:
    if isinstance(share, Mapping):
        return {f"share of {name}": share[name] for name in sorted(share)}
    return {"share": share}


# What is asked for


def _checked(values: Float[Tensor, "language layer neuron"]) -> Float[Tensor, "language layer neuron"]:
    own = values.detach().cpu().double()
    if not own.numel():
        raise UnknownName(f"there are no scores: {list(own.shape)} [language layer neuron]")
    if not own.isfinite().all():
        raise UnknownName(f"of {own.numel()} scores, {int((~own.isfinite()).sum())} are not finite")
    return own


def _names(own: Float[Tensor, "language layer neuron"], languages: Sequence[str]) -> list[str]:
    if len(languages) != len(own):
        raise UnknownName(f"the scores are of {len(own)} languages, and {len(languages)} are named")
    return list(languages)


def _share(share: float) -> float:
    if not 0 <= share < 1:
        raise UnknownName(f"a share is at least 0 and less than 1, not {share}")
    return share


def _refuse_size(size: int, grid: Float[Tensor, "layer neuron"]) -> None:
    if not 1 <= size <= grid.numel():
        raise UnknownName(f"cannot take {size} neurons: there are 1 to {grid.numel()} to take")
