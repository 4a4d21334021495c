"""Known models with licence, source, checksum and task card."""

from edgeq.zoo.store import ZooModel, cache_dir, card_for, info, list_models, pull

__all__ = ["ZooModel", "cache_dir", "card_for", "info", "list_models", "pull"]
