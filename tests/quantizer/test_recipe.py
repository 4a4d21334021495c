"""Recipes: strict TOML, round trips, overrides."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeq.errors import QuantizeError
from edgeq.quantizer.recipe import PRESETS, Activations, Override, Recipe, Weights

FULL = Recipe(
    name='odd "name" \\ é',
    weights=Weights(4, "per_tensor", "mse", ("last",)),
    activations=Activations("minmax", False, "int8", (-1.0, 1e-7)),
    bias_correction=False,
    overrides=(
        Override("head.*", activation="int16", weight_bits=8),
        Override("*", range="minmax", per_channel=True),
    ),
)


@pytest.mark.parametrize("recipe", [*PRESETS.values(), FULL], ids=[*PRESETS, "full"])
def test_toml_reads_back_to_an_equal_recipe(recipe: Recipe) -> None:
    assert Recipe.from_toml(recipe.to_toml()) == recipe


def test_an_empty_file_is_the_default_preset() -> None:
    assert Recipe.from_toml("") == Recipe() == Recipe.preset("int8")


@pytest.mark.parametrize(
    "text",
    [
        "weights = 3",
        "colour = 1",
        "name = 3",
        "name = ''",
        "[weights]\nbits = 3",
        "[weights]\nkeep8 = 'first'",
        "[weights]\nkeep8 = ['middle']",
        "[weights]\nbits = 8.0",
        "[weights]\nbits = true",
        "[weights]\nrange = 'entropy'",
        "[weights]\nspeed = 1",
        "[activations]\nheads = 'float'",
        "[activations]\nper_channel_depthwise = 1",
        "[activations]\ninput_range = [1, 0]",
        "[activations]\ninput_range = [0]",
        "[activations]\ninput_range = [nan, 1]",
        "[activations]\ninput_range = [true, 2]",
        "bias_correction = 'yes'",
        "override = 3",
        "override = [3]",
        "[[override]]\nrange = 'mse'",
        "[[override]]\nmatch = ''",
        "[[override]]\nmatch = 'a'\nactivation = 'int4'",
        "[[override]]\nmatch = 'a'\nweight_bits = 16",
        "[[override]]\nmatch = 'a'\nunknown = 'int8'",
        "overrides = []",
        "[weights",
    ],
)
def test_a_wrong_recipe_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(QuantizeError) as caught:
        Recipe.from_toml(text)
    assert "\n" not in str(caught.value).strip()


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(QuantizeError, match="must be one of int8"):
        Recipe.preset("int7")


def test_the_last_fitting_override_wins() -> None:
    recipe = Recipe(overrides=(Override("a*", range="mse"), Override("ab", range="minmax")))
    assert recipe.overriding("range", "ab") == "minmax"
    assert recipe.overriding("range", "ac") == "mse"
    assert recipe.overriding("range", "b") is None
    assert recipe.overriding("activation", "ab") is None


def test_a_file_that_is_missing_or_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_bytes(b"\xff\xfe")
    for name in ("r.toml", "none.toml"):
        with pytest.raises(QuantizeError):
            Recipe.load(tmp_path / name)
    (tmp_path / "ok.toml").write_text(FULL.to_toml(), encoding="utf-8")
    assert Recipe.load(tmp_path / "ok.toml") == FULL
