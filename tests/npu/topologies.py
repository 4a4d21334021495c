"""Published networks as shapes only: layer lists for the clock, no weights."""

from __future__ import annotations

from collections.abc import Callable

from edgeq.compiler.workload import Network, NetworkBuilder


def resnet(name: str, blocks: tuple[int, int, int, int], *, bottleneck: bool) -> Network:
    """He et al. 2016, torchvision v1 (stride on the 3x3 of a bottleneck)."""
    n = NetworkBuilder(name)
    x = n.pool(n.conv(n.input(224, 224, 3), 64, 7, 2), 3, 2, pad=1)
    for stage, count in enumerate(blocks):
        width = 64 << stage
        for i in range(count):
            stride = 2 if i == 0 and stage else 1
            out = width * 4 if bottleneck else width
            if bottleneck:
                y = n.conv(n.conv(n.conv(x, width, 1), width, 3, stride), out, 1, function="output")
            else:
                y = n.conv(n.conv(x, width, 3, stride), width, 3, function="output")
            if stride == 2 or n.buffers[x][2] != out:
                x = n.conv(x, out, 1, stride, function="output")
            x = n.add(y, x)
    return n.build(n.conv(n.mean(x), 1000, 1, function="output"))


def resnet18() -> Network:
    return resnet("ResNet18", (2, 2, 2, 2), bottleneck=False)


def resnet50() -> Network:
    return resnet("ResNet50", (3, 4, 6, 3), bottleneck=True)


def resnet101() -> Network:
    return resnet("ResNet101", (3, 4, 23, 3), bottleneck=True)


def mobilenet_v1() -> Network:
    """Howard et al. 2017, width 1.0."""
    n = NetworkBuilder("MobileNetV1")
    x = n.conv(n.input(224, 224, 3), 32, 3, 2)
    for out, stride in (
        (64, 1),
        (128, 2),
        (128, 1),
        (256, 2),
        (256, 1),
        (512, 2),
        *((512, 1),) * 5,
        (1024, 2),
        (1024, 1),
    ):
        x = n.conv(n.depthwise(x, 3, stride), out, 1)
    return n.build(n.conv(n.mean(x), 1000, 1, function="output"))


def mobilenet_v2() -> Network:
    """Sandler et al. 2018, width 1.0."""
    n = NetworkBuilder("MobileNetV2")
    x = n.conv(n.input(224, 224, 3), 32, 3, 2)
    for t, c, count, s in (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ):
        for i in range(count):
            stride, before = (s if i == 0 else 1), n.buffers[x][2]
            y = n.conv(x, before * t, 1) if t > 1 else x
            y = n.conv(n.depthwise(y, 3, stride), c, 1, function="output")
            x = n.add(x, y) if stride == 1 and before == c else y
    return n.build(n.conv(n.mean(n.conv(x, 1280, 1)), 1000, 1, function="output"))


def squeezenet() -> Network:
    """Iandola et al. 2016, version 1.1."""
    n = NetworkBuilder("SqueezeNet1.1")

    def fire(x: str, squeeze: int, expand: int) -> str:
        s = n.conv(x, squeeze, 1)
        return n.concat(n.conv(s, expand, 1), n.conv(s, expand, 3))

    x = n.pool(n.conv(n.input(224, 224, 3), 64, 3, 2, pad=0), 3, 2)
    x = n.pool(fire(fire(x, 16, 64), 16, 64), 3, 2)
    x = n.pool(fire(fire(x, 32, 128), 32, 128), 3, 2)
    x = fire(fire(fire(fire(x, 48, 192), 48, 192), 64, 256), 64, 256)
    return n.build(n.mean(n.conv(x, 1000, 1)))


def vgg19() -> Network:
    """Simonyan and Zisserman 2015, batch norms folded."""
    n = NetworkBuilder("VGG19BN")
    x = n.input(224, 224, 3)
    for width, count in ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4)):
        for _ in range(count):
            x = n.conv(x, width, 3)
        x = n.pool(x, 2, 2)
    x = n.conv(x, 4096, 7, pad=0)  # the first fully connected layer over 7x7x512
    return n.build(n.conv(n.conv(x, 4096, 1), 1000, 1, function="output"))


def yolov5s() -> Network:
    """Ultralytics YOLOv5 6.0, width 0.5, depth 0.33, 640x640, COCO."""
    n = NetworkBuilder("YOLOv5s")

    def conv(x: str, out: int, k: int, s: int = 1, pad: int | None = None) -> str:
        return n.conv(x, out, k, s, pad=pad, function="lut")

    def c3(x: str, out: int, count: int, *, shortcut: bool) -> str:
        half = out // 2
        a, b = conv(x, half, 1), conv(x, half, 1)
        for _ in range(count):
            y = conv(conv(a, half, 1), half, 3)
            a = n.add(a, y) if shortcut else y
        return conv(n.concat(a, b), out, 1)

    x = conv(n.input(640, 640, 3), 32, 6, 2, 2)
    x = c3(conv(x, 64, 3, 2), 64, 1, shortcut=True)
    p3 = c3(conv(x, 128, 3, 2), 128, 2, shortcut=True)
    p4 = c3(conv(p3, 256, 3, 2), 256, 3, shortcut=True)
    x = c3(conv(p4, 512, 3, 2), 512, 1, shortcut=True)
    a = conv(x, 256, 1)
    b = n.pool(a, 5, 1, pad=2)
    c = n.pool(b, 5, 1, pad=2)
    x = conv(n.concat(a, b, c, n.pool(c, 5, 1, pad=2)), 512, 1)
    t5 = conv(x, 256, 1)
    t4 = conv(c3(_join(n, n.upsample(t5), p4), 256, 1, shortcut=False), 128, 1)
    o3 = c3(_join(n, n.upsample(t4), p3), 128, 1, shortcut=False)
    o4 = c3(_join(n, conv(o3, 128, 3, 2), t4), 256, 1, shortcut=False)
    o5 = c3(_join(n, conv(o4, 256, 3, 2), t5), 512, 1, shortcut=False)
    return n.build(*(n.conv(o, 255, 1, function="output") for o in (o3, o4, o5)))


def yolox_s() -> Network:
    """Ge et al. 2021, YOLOX-S, 640x640, COCO."""
    n = NetworkBuilder("YOLOX-S")

    def conv(x: str, out: int, k: int, s: int = 1) -> str:
        return n.conv(x, out, k, s, function="lut")

    def csp(x: str, out: int, count: int, *, shortcut: bool) -> str:
        half = out // 2
        a, b = conv(x, half, 1), conv(x, half, 1)
        for _ in range(count):
            y = conv(conv(a, half, 1), half, 3)
            a = n.add(a, y) if shortcut else y
        return conv(n.concat(a, b), out, 1)

    x = conv(n.space_to_depth(n.input(640, 640, 3)), 32, 3)
    x = csp(conv(x, 64, 3, 2), 64, 1, shortcut=True)
    p3 = csp(conv(x, 128, 3, 2), 128, 3, shortcut=True)
    p4 = csp(conv(p3, 256, 3, 2), 256, 3, shortcut=True)
    x = conv(p4, 512, 3, 2)
    a = conv(x, 256, 1)
    x = conv(n.concat(a, *(n.pool(a, k, 1, pad=k // 2) for k in (5, 9, 13))), 512, 1)
    x = csp(x, 512, 1, shortcut=False)
    t5 = conv(x, 256, 1)
    t4 = conv(csp(_join(n, n.upsample(t5), p4), 256, 1, shortcut=False), 128, 1)
    o3 = csp(_join(n, n.upsample(t4), p3), 128, 1, shortcut=False)
    o4 = csp(_join(n, conv(o3, 128, 3, 2), t4), 256, 1, shortcut=False)
    o5 = csp(_join(n, conv(o4, 256, 3, 2), t5), 512, 1, shortcut=False)
    outputs = []
    for o in (o3, o4, o5):
        stem = conv(o, 128, 1)
        cls, reg = conv(conv(stem, 128, 3), 128, 3), conv(conv(stem, 128, 3), 128, 3)
        outputs += [
            n.conv(cls, 80, 1, function="lut"),
            n.conv(reg, 4, 1, function="output"),
            n.conv(reg, 1, 1, function="lut"),
        ]
    return n.build(*outputs)


def _join(n: NetworkBuilder, fresh: str, old: str) -> str:
    """Concatenate a new map with one that has other readers: both are read where they are."""
    return n.concat(fresh, old)


TOPOLOGIES: dict[str, Callable[[], Network]] = {
    "ResNet18": resnet18,
    "ResNet50": resnet50,
    "ResNet101": resnet101,
    "MobileNetV1": mobilenet_v1,
    "MobileNetV2": mobilenet_v2,
    "SqueezeNet1.1": squeezenet,
    "VGG19BN": vgg19,
    "YOLOv5s": yolov5s,
    "YOLOX-S": yolox_s,
}
