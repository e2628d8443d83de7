"""The commands that run a paper's whole set of experiments, a file each."""

from __future__ import annotations

import typer

from locant.cli.circuit import EDGES_HELP
from locant.cli.run import editing, knowledge_circuits, matrice, qrnca, query_localization
from locant.cli.shared import METHOD_SETTINGS

run_app = typer.Typer(help="A paper's whole set of experiments, on your model and data.", no_args_is_help=True)
run_app.command("query-localization")(query_localization.run)
run_app.command("qrnca")(qrnca.run)
run_app.command("matrice")(matrice.run)
run_app.command("editing")(editing.run)
run_app.command("knowledge-circuits", context_settings=METHOD_SETTINGS, epilog=EDGES_HELP)(knowledge_circuits.run)
