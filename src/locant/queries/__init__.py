"""Stage 1: facts put into words, and their answers into tokens.

`query` makes one, `read_queries` reads a file of them, `write_queries` writes one, `read_pararel` reads a folder of
ParaRel; `resolve` finds the answer's tokens for a tokenizer. `choose` asks by multiple choice.
"""

from locant.queries.choice import (
    ChoicePrompt,
    ChoiceQuestion,
    choice_languages,
    choose,
    gather_choices,
    put_in_chat,
)
from locant.queries.files import read_queries, write_queries
from locant.queries.items import Item, item, read_items, read_mmlu
from locant.queries.make import edit_request, query
from locant.queries.pararel import read_pararel
from locant.queries.qrnca import read_qrnca
from locant.queries.subjects import subject_tokens
from locant.queries.tokens import MASK, Kind, Tokens, resolve, resolve_prompt

__all__ = [
    "MASK",
    "ChoicePrompt",
    "ChoiceQuestion",
    "Item",
    "Kind",
    "Tokens",
    "choice_languages",
    "choose",
    "edit_request",
    "gather_choices",
    "item",
    "put_in_chat",
    "query",
    "read_items",
    "read_mmlu",
    "read_pararel",
    "read_qrnca",
    "read_queries",
    "resolve",
    "resolve_prompt",
    "subject_tokens",
    "write_queries",
]
