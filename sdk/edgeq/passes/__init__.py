"""Rewrites of the graph that keep what it computes. One file per rewrite; PASSES lists them in order."""

from __future__ import annotations

from collections.abc import Callable

from edgeq.graph.ir import Graph
from edgeq.passes.activations import fuse_activations
from edgeq.passes.affine import fold_affine
from edgeq.passes.arithmetic import simplify_arithmetic
from edgeq.passes.clip import fuse_clips
from edgeq.passes.constants import fold_constants
from edgeq.passes.flatten import fold_flatten
from edgeq.passes.focus import fold_focus
from edgeq.passes.identities import drop_identities
from edgeq.passes.layout import sink_transposes
from edgeq.passes.names import restore_names
from edgeq.passes.padding import fold_padding
from edgeq.passes.parts import part_channels
from edgeq.passes.pools import simplify_pools
from edgeq.passes.reshapes import merge_reshapes
from edgeq.passes.shuffles import normalise_shuffles
from edgeq.passes.slices import merge_slices
from edgeq.passes.twins import merge_twins
from edgeq.passes.upsampling import fold_upsampling

Pass = Callable[[Graph], Graph]

PASSES: tuple[Pass, ...] = (
    fold_constants,
    drop_identities,
    sink_transposes,
    merge_reshapes,
    normalise_shuffles,
    merge_slices,
    merge_twins,
    simplify_arithmetic,
    fuse_activations,
    fold_affine,
    fold_padding,
    fuse_clips,
    fold_focus,
    fold_flatten,
    simplify_pools,
    part_channels,
    fold_upsampling,
    restore_names,
)

ROUNDS = 25  # each round is a rewrite somewhere; real models settle in 2 to 4


def canonicalise(graph: Graph) -> Graph:
    """Run PASSES in order until none of them changes the graph."""
    for _ in range(ROUNDS):
        before = graph
        for rewrite in PASSES:
            graph = rewrite(graph)
        if graph is before:
            break
    return graph


__all__ = ["PASSES", "canonicalise"]
