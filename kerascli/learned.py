"""What a layer learns from the training split before the graph is built; kept in a run's `preprocessing.json`."""

from pydantic import BaseModel, ConfigDict


class Learned(BaseModel):
    """Values for the layer's arguments of these names; null where it learns no such thing."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)

    vocabulary: list[str] | list[int] | None = None
    """Words or numbers in their order, special tokens left out."""
    idf_weights: list[float] | None = None
    """The rarity of each of them."""
    bin_boundaries: list[float] | None = None
    """Where bins end and the next begin."""
