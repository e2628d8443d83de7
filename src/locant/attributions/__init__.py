"""Stage 3: what each neuron contributes to an answer. One file per method, all on the engine."""

from locant.attributions.activation import activation
from locant.attributions.amig import amig
from locant.attributions.attribute import METHODS, Method, attribute, resolved_settings, settings_of
from locant.attributions.dai import dai
from locant.attributions.exact import exact
from locant.attributions.gradient_x_activation import gradient_x_activation
from locant.attributions.quadrature import RULES, Quadrature, quadrature
from locant.attributions.random import random
from locant.attributions.sig import sig

__all__ = [
    "METHODS",
    "RULES",
    "Method",
    "Quadrature",
    "activation",
    "amig",
    "attribute",
    "dai",
    "exact",
    "gradient_x_activation",
    "quadrature",
    "random",
    "resolved_settings",
    "settings_of",
    "sig",
]
