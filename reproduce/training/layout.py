"""How the rows of a pass stand before the network."""

from enum import Enum


class Layout(Enum):
    """PADDED: rows of similar length, padded on the right. PACKED: one behind the other in a single row. SHARED: as
    packed, and tokens that several rows begin with are there once (`training.prefix_tree`).
    """

    PADDED = "padded"
    PACKED = "packed"
    SHARED = "shared"


def layout_of(training) -> Layout:
    """The layout that a config's section `training` asks for; on cards rows are packed unless it says otherwise."""
    if training.shared_prefixes:
        return Layout.SHARED
    packed = training.device != "cpu" if training.packed is None else training.packed
    return Layout.PACKED if packed else Layout.PADDED
