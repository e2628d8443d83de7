"""Stage 5: a model changed while a context lasts, and exactly as before afterwards."""

from locant.interventions.activations import enhance, intervene, scale, set_to, suppress
from locant.interventions.editing import edit
from locant.interventions.edits import erase, update

__all__ = ["edit", "enhance", "erase", "intervene", "scale", "set_to", "suppress", "update"]
