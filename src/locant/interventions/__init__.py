"""Stage 5: a model changed while a context lasts, and exactly as before afterwards."""

from locant.interventions.activations import enhance, intervene, scale, set_to, suppress

__all__ = ["enhance", "intervene", "scale", "set_to", "suppress"]
