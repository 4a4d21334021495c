"""Zoo models are found by content, checked by checksum and never half written."""

from __future__ import annotations

import hashlib
import urllib.request
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest

from edgeq import zoo
from edgeq.errors import ZooError
from edgeq.zoo import card_for, info, list_models, pull, store

BODY = b"a small network" * 40_000


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """One model with an address, an empty cache, no mirror, and a network that is down."""
    model = replace(
        info("yolox_nano"),
        name="toy",
        file="toy.onnx",
        bytes=len(BODY),
        sha256=hashlib.sha256(BODY).hexdigest(),
    )
    monkeypatch.setattr(store, "_models", lambda: {"toy": model})
    monkeypatch.setenv("EDGEQ_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("EDGEQ_ZOO_MIRROR", raising=False)
    answer(monkeypatch, None)
    return model


def answer(monkeypatch: pytest.MonkeyPatch, body: bytes | None) -> list[str]:
    asked: list[str] = []

    def urlopen(url: str, timeout: float) -> BytesIO:
        asked.append(url)
        assert timeout > 0
        if body is None:
            raise URLError("no route to host")
        return BytesIO(body)

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    return asked


def left(tmp_path: Path) -> list[str]:
    return [path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_every_model_is_complete_and_pinned() -> None:
    models = list_models()
    assert len({model.sha256 for model in models}) == len(models) >= 12
    for model in models:
        assert len(model.sha256) == 64 and model.bytes > 1000
        assert model.title and model.source and model.card.licence and model.card.accuracy
        if model.url:
            commit = model.url.removeprefix("https://raw.githubusercontent.com/").split("/")[2]
            assert len(commit) == 40 and commit in model.source
        else:
            assert model.packaged or "EDGEQ_ZOO_MIRROR" in model.note
        assert len(model.card.labels) in (0, 2, 8, 10, 68, 72, 80, 97, 1000)


def test_our_own_models_need_no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGEQ_CACHE", str(tmp_path))
    monkeypatch.delenv("EDGEQ_ZOO_MIRROR", raising=False)
    answer(monkeypatch, None)
    for name in ("panel_detect", "panel_read"):
        assert pull(name).stat().st_size == info(name).bytes


def test_download_is_checked_and_kept(
    toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = answer(monkeypatch, BODY)
    seen: list[tuple[int, int]] = []
    path = pull("toy", progress=lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == BODY
    assert seen[-1] == (len(BODY), len(BODY)) and len(seen) > 1
    assert pull("toy") == path
    assert asked == [toy.url]


@pytest.mark.parametrize("body", [b"", BODY[:-1], BODY + b"x", BODY[:-1] + b"!"])
def test_another_content_is_refused_and_nothing_stays(
    toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    answer(monkeypatch, body)
    with pytest.raises(ZooError, match="SHA-256"):
        pull("toy")
    assert left(tmp_path) == []


def test_an_endless_answer_is_cut_off(toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless:
        read_bytes = 0

        def __enter__(self) -> Endless:
            return self

        def __exit__(self, *_: object) -> None:
            return None

        def read(self, size: int) -> bytes:
            self.read_bytes += size
            return b"x" * size

    endless = Endless()
    monkeypatch.setattr(urllib.request, "urlopen", lambda url, timeout: endless)
    with pytest.raises(ZooError):
        pull("toy")
    assert endless.read_bytes < len(BODY) + (1 << 20)


def test_mirror_is_searched_by_content(
    toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / "mirror" / "a" / "b"
    deep.mkdir(parents=True)
    (deep / "0.bin").write_bytes(b"!" * len(BODY))
    (deep / "any name").write_bytes(BODY)
    (deep / "dangling").symlink_to("nowhere")
    monkeypatch.setenv("EDGEQ_ZOO_MIRROR", str(tmp_path / "mirror"))
    assert pull("toy").read_bytes() == BODY


def test_a_damaged_cache_is_fetched_again(
    toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(monkeypatch, BODY)
    pull("toy").write_bytes(b"!" * len(BODY))
    assert pull("toy").read_bytes() == BODY
    assert left(tmp_path) == ["toy.onnx"]


def test_without_network_and_mirror_one_sentence_says_so(
    toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ZooError) as caught:
        pull("toy")
    text = str(caught.value)
    assert "no route to host" in text and "EDGEQ_ZOO_MIRROR" in text and "\n" not in text
    assert left(tmp_path) == []
    monkeypatch.setattr(store, "_models", lambda: {"toy": replace(toy, url=None)})
    with pytest.raises(ZooError, match="no upstream address"):
        pull("toy")


def test_unknown_names_are_told_the_known_ones() -> None:
    with pytest.raises(ZooError, match="yolox_nano"):
        info("yolo99")


def test_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEQ_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert store.cache_dir() == Path("/x/edgeq")
    monkeypatch.setenv("EDGEQ_CACHE", "/y")
    assert store.cache_dir() == Path("/y")


def test_a_model_file_is_recognised_by_its_content(
    toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "renamed").write_bytes(BODY)
    (tmp_path / "other").write_bytes(BODY[:-1] + b"!")
    assert card_for(tmp_path / "renamed") == toy.card
    assert card_for(toy.sha256) == toy.card
    assert card_for(tmp_path / "other") is None
    assert card_for("0" * 64) is None
    with pytest.raises(ZooError, match="cannot be read"):
        card_for(tmp_path / "absent")


def test_shared_models_know_their_cards(shared: Path) -> None:
    known = {path.name for path in (shared / "models").rglob("*.*") if card_for(path)}
    assert {Path(model.file).name for model in list_models() if not model.packaged} == known


def test_pictures_are_known_by_content_and_licence() -> None:
    pictures = zoo.list_pictures()
    assert len(pictures) == 32 == len({p.sha256 for p in pictures})
    assert all(p.licence and p.credit and p.url for p in pictures)


def test_pictures_come_from_the_mirror(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEQ_CACHE", str(tmp_path))
    monkeypatch.setenv("EDGEQ_ZOO_MIRROR", str(shared / "data" / "coco"))
    folder = zoo.pull_pictures()
    assert len(list(folder.glob("*.jpg"))) == 32


def test_unknown_picture_set_names_the_known_ones() -> None:
    with pytest.raises(ZooError, match="coco_sample"):
        zoo.list_pictures("nothing")
