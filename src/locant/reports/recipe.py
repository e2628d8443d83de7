"""How a page's numbers were made: settings, controls, units, and the call that makes them again."""

from __future__ import annotations

import shlex

from locant.recipes.ask import Asked
from locant.reports.finding import effect_of
from locant.reports.numbers import count, score
from locant.types import Provenance, Setting

_UNITS = {
    "probability": "probability",
    "log_probability": "nats of log-probability",
}
_UNITS_WITHOUT_TARGET = {"activation": "activation units", "random": "no unit: random numbers"}


def score_unit(made_by: Provenance) -> str:
    """The unit of a method's scores: its target's, if it has one."""
    target = str(made_by.settings.get("target", ""))
    return _UNITS.get(target) or _UNITS_WITHOUT_TARGET.get(made_by.method, f"the units of {made_by.method}")


def made_with(asked: Asked) -> list[tuple[str, str]]:
    """Every setting, by name."""
    by = asked.made_by
    rows = [
        ("model", by.model or asked.model),
        ("revision", by.revision or "not given"),
        ("dtype", by.dtype or "not recorded"),
        ("method", asked.attribution.made_by.method),
        ("selection", _selection(asked.selection.made_by)),
        ("seed", "none" if by.seed is None else str(by.seed)),
        ("locant", by.package),
        ("digest", by.digest()),
    ]
    error = asked.attribution.completeness_error
    if error is not None:
        rows.append(("completeness error, largest layer", score(float(error.max())).lstrip("+")))
    settings = {**asked.attribution.made_by.settings, **by.settings}
    rows += [(name, _plain(value)) for name, value in settings.items() if name != "method"]
    return rows


def controls(asked: Asked) -> list[tuple[str, str]]:
    """What each comparison is made of."""
    chosen = count(len(asked.selection))
    rows = []
    matched = effect_of(asked, "suppress", "random, layer-matched")
    if matched is not None:
        rows.append(
            (
                "Same layers, random",
                f"{count(matched.change.n)} random sets of {chosen} neurons, from each layer as many as were "
                "located there, none of them located; judged by this query.",
            )
        )
    anywhere = effect_of(asked, "suppress", "random")
    if anywhere is not None:
        rows.append(
            (
                "Any layer, random",
                f"{count(anywhere.change.n)} random sets of {chosen} neurons from the whole model, "
                "none of them located; judged by this query.",
            )
        )
    if asked.unrelated:
        rows.append(
            (
                "Other facts",
                f"{count(len(asked.unrelated))} prompts from the almanac of other subjects, and of other "
                "relations where this query's is known, each judged by the answer listed below: the model's own "
                "first answer.",
            )
        )
    return rows


def units(asked: Asked) -> list[tuple[str, str]]:
    """What each number on the page counts."""
    return [
        ("P(answer)", "probability of all the answer's tokens, each after the ones before it; 0 to 100%"),
        ("rank", "place of the answer among all tokens, 1 the most probable; of several tokens, the worst"),
        ("relative change", "(P after − P before) / P before; −100% is all lost, ×2 is doubled"),
        ("[low, high]", "95% bootstrap interval of the mean, over random sets or over facts"),
        ("score", f"{score_unit(asked.attribution.made_by)}, for this query's answer"),
        ("share of credit", "a layer's positive scores, of the model's positive scores"),
        ("activation", "what the neuron multiplies its value vector by, where the answer is predicted"),
        (
            "promotes, demotes",
            "tokens whose logits the value vector raises and lowers most, read through the "
            "unembedding without the norm before it",
        ),
    ]


def command_of(asked: Asked) -> str | None:
    """The command line that makes the page again; None if a setting was a tensor, which has no text."""
    by, query = asked.made_by, asked.query
    own = dict(asked.attribution.made_by.settings)
    if own.pop("baseline", None) is not None:
        return None
    words = ["locant", "ask", query.prompt, "--answer", query.answer]
    options: dict[str, Setting] = {
        "relation": query.relation or None,
        "language": None if query.language == "en" else query.language,
        "model": None if asked.model == "almanac" else asked.model,
        "revision": by.revision,
        "dtype": None if (asked.model, by.dtype) == ("almanac", "float32") else by.dtype,
        "method": asked.attribution.made_by.method,
        "top": len(asked.selection),
        "seed": by.seed,
        **{name: value for name, value in own.items() if name != "seed"},
    }
    for name, value in options.items():
        if value is True:
            words.append(f"--{name.replace('_', '-')}")
        elif value is not None and value is not False:
            words += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(words)


def python_of(asked: Asked) -> str:
    """The same attribution and selection as a Python program."""
    query, made_by = asked.query, asked.attribution.made_by
    settings = "".join(f", {name}={value!r}" for name, value in made_by.settings.items() if value is not None)
    given = {"dtype": asked.made_by.dtype or None, "revision": asked.made_by.revision}
    options = "".join(f", {name}={value!r}" for name, value in given.items() if value is not None)
    return (
        "import locant\n\n"
        f"lm = locant.load({asked.model!r}{options})\n"
        f"q = locant.query({query.prompt!r}, {query.answer!r}, language={query.language!r})\n"
        f"a = locant.attribute(lm, [q], method={made_by.method!r}{settings})\n"
        f's = locant.select(a, rule="top", k={len(asked.selection)})\n'
        "with locant.suppress(lm, s):\n"
        "    print(locant.answer_probability(lm, [q]))\n"
    )


def _selection(made_by: Provenance) -> str:
    settings = ", ".join(f"{name} {_plain(value)}" for name, value in made_by.settings.items())
    return f"{made_by.method.removeprefix('select:')} ({settings})" if settings else made_by.method


def _plain(value: Setting) -> str:
    return "none" if value is None else str(value)
