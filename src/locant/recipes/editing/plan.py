"""What a run of the editing experiments does: its methods and how far each experiment goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from locant.errors import UnknownName
from locant.interventions.editing import METHODS
from locant.recipes.plans import refuse_less, refuse_other
from locant.types import Setting

DEFAULT = ("rome", "memit", "alphaedit", "ft_m", "ft_l", "ft", "kn", "neuron_tuning")
"""Methods that are compared if none are named; lora is not among them, as it needs peft."""
RANDOM = "kn, random neurons"
"""The control of knowledge neurons: as many others of the same layers, edited alike."""
OF_LAYERS = ("rome", "ft_m")
"""Methods that edit one layer, which can be any: they say where editing works best."""
EFFECTS = ("tracing", "credit")
"""What localization says of a layer: the effect of causal tracing; its share of the answer's attribution."""
STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)
"""Numbers of edits after which a model that is edited in turn is read."""


@dataclass(frozen=True)
class Plan:
    """The settings of a run.

    Attributes:
        methods: which are compared, by name.
        settings: of each method, where they are not its defaults.
        in_turn: how many facts are edited one after another, each in the model that the ones before it left.
        together: how many are edited at once, by methods that can.
        layers: how many are edited at every layer, to compare with localization; 0 for none.
        tokens: written about each subject, for fluency; 0 for none.
        seed: of every random choice.
    """

    methods: tuple[str, ...] = DEFAULT
    settings: Mapping[str, Mapping[str, Setting]] = field(default_factory=dict)
    in_turn: int = 100
    together: int = 100
    layers: int = 20
    tokens: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.methods:
            raise UnknownName(f"a run needs a method; there are {', '.join(METHODS)}")
        for name in (*self.methods, *self.settings):
            refuse_other("editing method", name, METHODS)
        refuse_less(0, self, "in_turn", "together", "layers", "tokens")

    def of(self, method: str) -> dict[str, Setting]:
        """A method's own settings."""
        return dict(self.settings.get(method, {}))

    def plain(self) -> dict[str, object]:
        """As a manifest holds it."""
        return asdict(self) | {"methods": list(self.methods)}


def steps(facts: int) -> tuple[int, ...]:
    """After how many of so many edits the model is read; always after the last."""
    return tuple(sorted({one for one in STEPS if one < facts} | {facts})) if facts else ()
