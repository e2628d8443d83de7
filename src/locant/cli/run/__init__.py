"""The commands that run a paper's whole set of experiments, a file each."""

from __future__ import annotations

import typer

from locant.cli.run import editing, knowledge_circuits, matrice, qrnca, query_localization

run_app = typer.Typer(help="A paper's whole set of experiments, on your model and data.", no_args_is_help=True)
run_app.command("query-localization")(query_localization.run)
run_app.command("qrnca")(qrnca.run)
run_app.command("matrice")(matrice.run)
run_app.command("editing")(editing.run)
run_app.command("knowledge-circuits")(knowledge_circuits.run)
