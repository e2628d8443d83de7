"""Facts rewritten in the weights: one file per method, each from requests to new weights."""

from locant.interventions.editing.edit import Edit, edit, editing_settings, prepare
from locant.interventions.editing.editor import Editor, Note, Rewrite
from locant.interventions.editing.methods import METHODS
from locant.interventions.editing.saved import apply_weights

__all__ = ["METHODS", "Edit", "Editor", "Note", "Rewrite", "apply_weights", "edit", "editing_settings", "prepare"]
