"""Known models and pictures with licence, source, checksum and task card."""

from edgeq.zoo.store import (
    ZooModel,
    ZooPicture,
    cache_dir,
    card_for,
    info,
    list_models,
    list_pictures,
    pull,
    pull_pictures,
)

__all__ = [
    "ZooModel",
    "ZooPicture",
    "cache_dir",
    "card_for",
    "info",
    "list_models",
    "list_pictures",
    "pull",
    "pull_pictures",
]
