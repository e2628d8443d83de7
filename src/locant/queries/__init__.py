"""Stage 1: facts put into words, and their answers into tokens.

`query` makes one, `read_queries` reads a file of them, `write_queries` writes one, `read_pararel` reads a folder of
ParaRel; `resolve` finds the answer's tokens for a tokenizer.
"""

from locant.queries.files import read_queries, write_queries
from locant.queries.make import query
from locant.queries.pararel import read_pararel
from locant.queries.tokens import MASK, Kind, Tokens, resolve, resolve_prompt

__all__ = [
    "MASK",
    "Kind",
    "Tokens",
    "query",
    "read_pararel",
    "read_queries",
    "resolve",
    "resolve_prompt",
    "write_queries",
]
