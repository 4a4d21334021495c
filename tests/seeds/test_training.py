"""Training examples keep their truth, cells are assigned to the right boxes, export is exact."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

from edgeq.seeds import examples  # noqa: E402
from edgeq.seeds.export import write_onnx  # noqa: E402
from edgeq.seeds.losses import assign, cells, corners, pair_iou  # noqa: E402
from edgeq.seeds.measure import runner  # noqa: E402
from edgeq.seeds.networks import PanelDetect, PanelRead  # noqa: E402
from edgeq.seeds.rehearse import Rehearsal  # noqa: E402
from edgeq.vision.card import TaskCard  # noqa: E402

SEEDS = Path(__file__).resolve().parents[2] / "seeds"


def test_varied_boxes_stay_on_their_object() -> None:
    picture = np.zeros((240, 320, 3), np.uint8)
    picture[60:120, 80:180] = 255
    box = np.array([[2, 80, 60, 180, 120]], np.float32)
    for seed in range(20):
        out, moved = examples.vary_picture(
            np.random.default_rng(seed), picture, box, size=(320, 256)
        )
        kind, x0, y0, x1, y1 = moved[0]
        rows, columns = (
            np.flatnonzero((out.min(2) > 160).any(1)),
            np.flatnonzero((out.min(2) > 160).any(0)),
        )
        assert kind == 2
        found = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        np.testing.assert_allclose([x0, y0, x1, y1], found, atol=1.1)


def test_a_varied_line_fits_the_reader() -> None:
    line = np.full((48, 220, 3), 90, np.uint8)
    out = examples.vary_line(np.random.default_rng(1), line)
    assert out.shape == (examples.LINE_HEIGHT, examples.LINE_WIDTH, 3) and out.dtype == np.float32


def test_each_box_is_given_to_cells_that_overlap_it() -> None:
    torch.manual_seed(0)
    grid = cells(64, 64)
    assert len(grid) == 8 * 8 + 4 * 4 + 2 * 2
    boxes = torch.tensor([[[0, 4.0, 4, 20, 20], [1, 30.0, 20, 62, 60], [-1, -1, -1, -1, -1]]])
    _, cell, box = assign(torch.randn(1, len(grid), 7), boxes, grid)
    assert set(box.tolist()) == {0, 1}
    assert len(set(cell.tolist())) == len(cell)
    middle = (grid[cell, :2] + 0.5) * grid[cell, 2:]
    real = boxes[0, box, 1:]
    off = (middle - (real[:, :2] + real[:, 2:]) / 2).abs().amax(1)
    assert (off < 2.5 * grid[cell, 2]).all()


def test_corners_undo_the_raw_form() -> None:
    grid = cells(32, 32)
    raw = torch.zeros(1, len(grid), 4)
    box = corners(raw, grid)[0, 0]  # column 0, row 0, stride 8, log size 0
    assert box.tolist() == [-4, -4, 4, 4]
    assert pair_iou(box, box).item() == pytest.approx(1)


def test_rehearsal_rounds_to_256_steps_and_lets_gradients_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("edgeq.seeds.rehearse.SHARE", 1.0)
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
    rehearsal = Rehearsal(net)
    x = torch.randn(2, 3, 16, 16).to(memory_format=torch.channels_last).requires_grad_()
    out = net(x)
    assert 100 < len(out.detach().unique()) <= 257
    assert rehearsal.far().item() == 0  # a fresh batch norm stays within the limit
    (out * torch.linspace(-1, 1, 16)).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().min() > 0


@pytest.mark.parametrize("name", ["panel_detect", "panel_read"])
def test_export_computes_what_the_network_computes(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    card = TaskCard.from_toml(SEEDS / f"{name}.toml")
    net = PanelDetect(8) if name == "panel_detect" else PanelRead(len(card.labels))
    for part in net.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
    net.eval()
    write_onnx(net, card, tmp_path / "net.onnx")
    tensor = np.random.default_rng(0).standard_normal(
        (1, card.input.height, card.input.width, 3), np.float32
    )
    (mine,) = runner(tmp_path / "net.onnx")(tensor).values()
    with torch.no_grad():
        real = net(torch.from_numpy(tensor).permute(0, 3, 1, 2)).numpy()
    np.testing.assert_allclose(mine, real, atol=1e-4)
