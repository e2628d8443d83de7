"""The page's lists and tables, as HTML; every text from data is escaped here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from locant.recipes.ask import Asked
from locant.reports.numbers import change, count, probability, score
from locant.reports.text import escape, visible
from locant.types import Query


def answer_bars(tokens: Iterable[tuple[str, float]], answer: str) -> str:
    """The model's first tokens with their probabilities, a bar each."""
    rows = []
    for token, p in tokens:
        mine = ' class="answer"' if token.strip() == answer.strip() else ""
        rows.append(
            f'<tr{mine}><th scope="row">{_token(token)}</th>'
            f'<td class="bar"><i style="width:{100 * min(1.0, max(0.0, p)):.2f}%"></i></td>'
            f'<td class="number">{probability(p)}</td></tr>'
        )
    head = '<tr><th scope="col">token</th><th scope="col">bar</th><th scope="col">probability</th></tr>'
    columns = '<colgroup><col class="token"><col><col class="value"></colgroup>'
    return f'<table class="answers">{columns}<thead>{head}</thead><tbody>{"".join(rows)}</tbody></table>'


def effect_table(asked: Asked) -> str:
    """The numbers of the before/after bars."""
    rows = [
        (
            one.operation,
            one.touched,
            "this query" if one.asked == "own" else f"{one.asked} facts",
            probability(one.before),
            probability(one.after),
            change(one.change),
            f"{count(one.change.n)} {one.over}" if one.change.n > 1 else "1",
        )
        for one in asked.effects
    ]
    head = ("operation", "neurons", "asked", "mean P before", "mean P after", "change [95%]", "n")
    return table(head, [[escape(cell) for cell in row] for row in rows], numbers=(3, 4, 5, 6))


def neuron_table(asked: Asked) -> str:
    """The located neurons, highest score first."""
    scores, activations = asked.attribution.scores[0], asked.attribution.activations[0]
    units = asked.selection.units.tolist()
    order = sorted(range(len(units)), key=lambda index: (-float(scores[*units[index]]), units[index]))
    rows = []
    for rank, index in enumerate(order, start=1):
        layer, neuron = units[index]
        words = asked.words[index]
        rows.append(
            [
                str(rank),
                str(layer),
                f'<a href="#L{layer}.N{neuron}" title="Show in the map">{count(neuron)}</a>',
                score(float(scores[layer, neuron])),
                score(float(activations[layer, neuron])),
                chips(words.promoted),
                chips(words.demoted),
            ]
        )
    head = ("rank", "layer", "neuron", "score", "activation", "promotes", "demotes")
    return table(head, rows, numbers=(0, 1, 2, 3, 4))


def definitions(pairs: Iterable[tuple[str, str]]) -> str:
    """Names and values, both as text."""
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in pairs)
    return f"<dl>{rows}</dl>"


def fact_list(queries: Sequence[Query]) -> str:
    """Prompts with the answer each was judged by."""
    items = "".join(
        f"<li><bdi>{escape(query.prompt)}</bdi> <bdi><b>{escape(query.answer)}</b></bdi></li>" for query in queries
    )
    return f"<ol>{items}</ol>"


def has_white_space(asked: Asked) -> bool:
    """Whether any token needs the symbols that stand for white space."""
    tokens = [token for token, _ in asked.top_answers]
    for words in asked.words:
        tokens += [*words.promoted, *words.demoted]
    return any(visible(token) != token for token in tokens)


def chips(tokens: Sequence[str]) -> str:
    """Tokens beside each other, as HTML."""
    return " ".join(f'<span class="chip">{_token(token)}</span>' for token in tokens)


def _token(token: str) -> str:
    return f"<bdi>{escape(visible(token))}</bdi>"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int]) -> str:
    """A table of cells that are HTML already; columns in `numbers` are set flush right."""

    def mark(column: int) -> str:
        return ' class="number"' if column in numbers else ""

    titles = "".join(f'<th scope="col"{mark(at)}>{title}</th>' for at, title in enumerate(head))
    lines = "".join(
        "<tr>" + "".join(f"<td{mark(at)}>{cell}</td>" for at, cell in enumerate(row)) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{lines}</tbody></table>"
