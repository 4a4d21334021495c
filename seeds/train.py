"""Train panel_detect and panel_read on drawn scenes, on the CPU: `python -m edgeq.seeds.train`.

Steps, each continued where it was left: draw scenes into a cache, train each network (checkpoints
in the cache, weights averaged, learning rate on a cosine), export ONNX beside this file, measure.

    python -m edgeq.seeds.train                  all of it
    python -m edgeq.seeds.train --only detect    one network
    python -m edgeq.seeds.train --check          measure the committed files on unseen scenes
"""

from __future__ import annotations

import argparse
import copy
import math
import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from edgeq.seeds import examples
from edgeq.seeds.export import write_onnx
from edgeq.seeds.losses import cells, detection_loss, reading_loss
from edgeq.seeds.measure import MODELS, check, note, read_objects
from edgeq.seeds.networks import PanelDetect, PanelRead, parameters
from edgeq.seeds.rehearse import Rehearsal
from edgeq.vision.card import Ctc, TaskCard

HERE = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("EDGEQ_SEEDS_CACHE", Path.home() / ".cache" / "edgeq" / "seeds"))
SHARDS = 46
SEED = 20_221_116
SAVE_EVERY = 100  # steps
REHEARSE = 0.5  # from this share of the steps on, INT8 is rehearsed


@dataclass(frozen=True, slots=True)
class Task:
    """One network and how it is trained. loss: (net, batch number) -> loss and a line to show."""

    name: str
    net: nn.Module
    card: TaskCard
    steps: int
    rate: float
    loss: Callable[[nn.Module, int], tuple[Tensor, str]]


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--cache", type=Path, default=CACHE, help="scenes and checkpoints (%(default)s)"
    )
    parser.add_argument("--only", choices=("detect", "read"))
    parser.add_argument("--shards", type=int, default=SHARDS, help="of 200 scenes (%(default)s)")
    parser.add_argument("--detect-steps", type=int, default=5000)
    parser.add_argument("--read-steps", type=int, default=12000)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--export", type=Path, default=HERE, help="folder of the ONNX files (%(default)s)"
    )
    parser.add_argument("--check", action="store_true", help="only measure the exported files")
    parser.add_argument(
        "--scenes", type=int, default=500, help="unseen scenes to measure on (%(default)s)"
    )
    args = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(args.threads)
    for name in MODELS:  # another folder gets its own cards
        if not (args.export / f"{name}.toml").is_file():
            shutil.copy(HERE / f"{name}.toml", args.export)
    if not args.check:
        args.cache.mkdir(parents=True, exist_ok=True)
        _draw(args.cache, args.shards)
        for make in (_detect, _read):
            task = make(args)
            if args.only in (None, task.name.removeprefix("panel_")):
                net = train(task, args.cache)
                write_onnx(net, task.card, args.export / f"{task.name}.onnx")
    figures = check(args.export, args.cache / "unseen", args.scenes)
    for place, share in read_objects(args.export / "panel_read.onnx", 100).items():
        print(f"panel_read on whole boxes: {place} {share:.4f}")
    if not args.check:
        note(args.export, figures, args.scenes)


def train(task: Task, cache: Path) -> nn.Module:
    """Train to the end of the schedule and return the averaged network."""
    file = cache / f"{task.name}_{task.steps}.pt"
    net, first = task.net, 0
    mean = copy.deepcopy(net)
    optimizer = torch.optim.AdamW(_groups(net), lr=task.rate, betas=(0.9, 0.99))
    if file.is_file():
        state = torch.load(file, weights_only=True)
        net.load_state_dict(state["net"])
        mean.load_state_dict(state["mean"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["step"]
    print(f"{task.name}: {parameters(net)} parameters, step {first} of {task.steps}", flush=True)
    net.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    rehearsal: Rehearsal | None = None
    begin = time.monotonic()
    for step in range(first, task.steps):
        for group in optimizer.param_groups:
            group["lr"] = task.rate * _schedule(step, task.steps)
        if step >= REHEARSE * task.steps and not rehearsal:
            rehearsal = Rehearsal(net)
        loss, shown = task.loss(net, step)
        if rehearsal:
            far = rehearsal.far()
            loss, shown = loss + 0.03 * far, f"{shown} ranges {float(far.detach()):.1f}"
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(net.parameters(), 10.0)
        optimizer.step()
        _average(mean, net, min(0.999, (step + 1) / (step + 10)))
        done = step + 1
        if done % 50 == 0:
            spent = time.monotonic() - begin
            left = spent / (done - first) * (task.steps - done) / 60
            print(f"{task.name} {done}/{task.steps} {shown} {left:.0f} min left", flush=True)
        if done % SAVE_EVERY == 0 or done == task.steps:
            state = {"net": net.state_dict(), "mean": mean.state_dict(), "step": done,
                     "optimizer": optimizer.state_dict()}  # fmt: skip
            torch.save(state, file.with_suffix(".part"))
            file.with_suffix(".part").replace(file)
    return mean.eval()


def _groups(net: nn.Module) -> list[dict[str, Any]]:
    """Decay the weights of convolutions only."""
    heavy = [p for p in net.parameters() if p.ndim > 1]
    light = [p for p in net.parameters() if p.ndim <= 1]
    return [{"params": heavy, "weight_decay": 0.02}, {"params": light, "weight_decay": 0.0}]


def _schedule(step: int, steps: int) -> float:
    warm = min(1.0, (step + 1) / 300)
    return warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / steps)))


@torch.no_grad()
def _average(mean: nn.Module, net: nn.Module, keep: float) -> None:
    for old, new in zip(mean.state_dict().values(), net.state_dict().values(), strict=True):
        if old.is_floating_point():
            old.lerp_(new, 1 - keep)
        else:
            old.copy_(new)


def _draw(cache: Path, shards: int) -> None:
    """Draw the shards that are missing, on all cores."""
    missing = [i for i in range(shards) if not examples.shard_file(cache, i).is_file()]
    if not missing:
        return
    with ProcessPoolExecutor() as pool:
        jobs = [pool.submit(examples.draw_shard, cache, i) for i in missing]
        for count, job in enumerate(as_completed(jobs), 1):
            job.result()
            print(f"drawn {count} of {len(missing)} shards of {examples.SHARD} scenes", flush=True)


def _load(args: argparse.Namespace, load: Callable[[Path], list[Any]]) -> list[Any]:
    """Load the examples of all shards, in order."""
    files = [examples.shard_file(args.cache, i) for i in range(args.shards)]
    return [example for file in files for example in load(file)]


def _detect(args: argparse.Namespace) -> Task:
    torch.manual_seed(SEED)
    card = TaskCard.from_toml(HERE / "panel_detect.toml")
    size = (card.input.width, card.input.height)
    small = (size[0] * 4 // 5, size[1] * 3 // 4)  # half the work; the end is trained at full size
    grids = {size: cells(*size), small: cells(*small)}
    pool: list[Any] = []  # filled when training begins

    def loss(net: nn.Module, step: int) -> tuple[Tensor, str]:
        pool.extend(() if pool else _load(args, examples.load_pictures))
        rng = np.random.default_rng([SEED, step])
        now = small if rng.random() < 0.6 and step < 0.7 * args.detect_steps else size
        pictures, boxes = [], []
        for i in rng.integers(0, len(pool), 16):
            picture, marks = examples.vary_picture(rng, *pool[i], size=now)
            pictures.append(picture)
            boxes.append(marks)
        full = np.full((len(boxes), max(1, *map(len, boxes)), 5), -1, np.float32)
        for row, marks in zip(full, boxes, strict=True):
            row[: len(marks)] = marks
        out = net(_tensor(pictures))
        total, parts = detection_loss(out, torch.from_numpy(full), grids[now])
        return total, " ".join(f"{name} {value:.3f}" for name, value in parts.items())

    return Task("panel_detect", PanelDetect(len(card.labels)), card, args.detect_steps, 4e-3, loss)


def _read(args: argparse.Namespace) -> Task:
    torch.manual_seed(SEED + 1)
    card = TaskCard.from_toml(HERE / "panel_read.toml")
    assert isinstance(card.decode, Ctc)
    index = {label: i for i, label in enumerate(card.labels)}
    pool: list[Any] = []  # filled when training begins

    def loss(net: nn.Module, step: int) -> tuple[Tensor, str]:
        pool.extend(() if pool else _load(args, examples.load_lines))
        rng = np.random.default_rng([SEED + 1, step])
        lines, texts = [], []
        for i in rng.integers(0, len(pool), 64):
            line, text = pool[i]
            lines.append(examples.vary_line(rng, line))
            texts.append([index[char] for char in text])
        total = reading_loss(net(_tensor(lines)), texts)
        return total, f"ctc {float(total.detach()):.3f}"

    return Task("panel_read", PanelRead(len(card.labels)), card, args.read_steps, 4e-3, loss)


def _tensor(pictures: list[Any]) -> Tensor:
    """Stack (h, w, 3) pictures 0..255 to (n, 3, h, w) -1..1, channels last in memory."""
    stacked = (np.stack(pictures) - np.float32(127.5)) / np.float32(127.5)
    return torch.from_numpy(stacked).permute(0, 3, 1, 2)


if __name__ == "__main__":
    main()
