"""Networks in eight bits, on the CPU: how far logits are off, and what the masks print.

    lithoburn generate --count 8 --out calibration
    python3 benches/peers/eight_bits.py --lithoburn lithoburn --calibration calibration --clips ICCAD13 --json eight_bits.json

A second implementation of the forward pass in numpy, rounded where a Hopper card's kernels would round: weights by the output channel, images by the
image, with scales that are powers of two (of e4m3) or that reach the largest value (of int8), sums in f32, biases in full, the first convolution and the
last one, with the image that it reads, in bf16 (`--whole`: in eight bits too). Scales come from the calibration layouts. `corrected`: after each convolution the mean of each output channel, over the pixels
where it is not far below zero, is made that of f32, layer after layer on the same layouts; on a card that is a part of the bias.

Much of numpy's time is memory given back and asked for again: MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=8589934592 makes it several times
as fast.

`--places 13` keeps 13 binary places of each sum of 32 products below the largest exponent, as Hopper's tensor cores are reported to do in e4m3
(DeepSeek-V3, arXiv 2412.19437, section 3.3.2), by `hopper_sums.c`. Masks are the mean of the eight symmetries without mask rules, scored by
`lithoburn score`. Needs numpy, safetensors, pillow, and cc for `--places`.
"""

import argparse
import ctypes
import glob
import json
import os
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image
from safetensors.numpy import load_file

HERE = os.path.dirname(os.path.abspath(__file__))
WEIGHTS = os.path.join(HERE, "../../weights")
FIELD, SIDE = 2048, 256
SYMMETRIES = 8
# Largest number of e4m3.
LARGEST = 448.0


def e4m3(x):
    """To the nearest e4m3, ties to even, the largest where there is none."""
    step = np.maximum(np.abs(x), np.float32(2.0**-6)).view(np.uint32) & np.uint32(0x7F800000)
    step = (step - np.uint32(3 << 23)).view(np.float32)
    return np.clip(np.rint(x / step) * step, -LARGEST, LARGEST)


def bf16(x):
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((bits + ((bits >> 16) & 1) + 0x7FFF) & np.uint32(0xFFFF0000)).view(np.float32)


def power_of_two(x):
    return np.exp2(np.ceil(np.log2(np.maximum(x, 1e-30)))).astype(np.float32)


def rounded(x, most, way, signed):
    """`x` in the numbers of a way, for values up to `most`."""
    if way == "e4m3":
        scale = power_of_two(most / LARGEST)
        return e4m3(x / scale) * scale
    if way == "int8":
        levels = 127 if signed else 255
        scale = np.maximum(most, 1e-30).astype(np.float32) / levels
        return np.clip(np.rint(x / scale), -levels if signed else 0, levels) * scale
    return bf16(x) if way == "bf16" else x


def fold(x):
    b, h, w, c = x.shape
    return x.reshape(b, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5).reshape(b, h // 2, w // 2, 4 * c)


def unfold(x):
    b, h, w, c = x.shape
    return x.reshape(b, h, w, 2, 2, c // 4).transpose(0, 1, 3, 2, 4, 5).reshape(b, 2 * h, 2 * w, c // 4)


def halved(x):
    b, h, w, c = x.shape
    return x.reshape(b, h // 2, 2, w // 2, 2, c).max((2, 4))


def mixed(x, axis, offsets):
    """Pixels between pixels along an axis; `offsets` are `[factor][n or 1]`."""
    x = np.moveaxis(x, axis, 0)
    n, rest = len(x), (1,) * (x.ndim - 1)
    before, after = np.concatenate([x[:1], x[:-1]]), np.concatenate([x[1:], x[-1:]])
    parts = [x + ((before if np.all(o <= 0) else after) - x) * np.abs(o, dtype=np.float32).reshape(-1, *rest) for o in offsets]
    return np.moveaxis(np.stack(parts, 1).reshape(n * len(parts), *x.shape[1:]), 0, axis)


def doubled(x):
    for axis in (1, 2):
        n = x.shape[axis]
        k = np.arange(n, dtype=np.float32)
        x = mixed(x, axis, [-k / (2 * n - 1), (n - 1 - k) / (2 * n - 1)])
    return x


def convolved(x, w):
    """`[b, h, w, from]` by `[3, 3, from, to]`."""
    b, h, width, channels = x.shape
    padded, y = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), np.zeros((b, h * width, w.shape[3]), np.float32)
    for image in range(b):
        for i in range(3):
            for j in range(3):
                y[image] += np.ascontiguousarray(padded[image, i : i + h, j : j + width]).reshape(-1, channels) @ w[i, j]
    return y.reshape(b, h, width, -1)


class Network:
    """A shipped network. `seen` are names of images that are joined, and their channels."""

    def __init__(self, name, sums, whole):
        self.name, self.sums = name, sums
        with open(f"{WEIGHTS}/{name}/config.json") as f:
            self.config = json.load(f)
        self.numbers = {k: v.astype(np.float32) for k, v in load_file(f"{WEIGHTS}/{name}/model.safetensors").items()}
        self.last_image = None if whole else {"neural-ilt": "up1", "neural-ilt-fast": "join1", "gan-opc": "join1"}[name]
        self.most, self.means, self.shifts = {}, {}, {}
        self.use("f32")

    def use(self, way, places=0):
        self.way, self.places, self.learning, self.weights = way, places, False, {}

    def calibrate(self, images):
        """Largest values of images, and what each convolution makes, in f32."""
        self.use("f32")
        self.learning, self.shifts = True, {}
        self.logits(images)
        self.use("f32")

    def correct(self, images):
        """Shifts of the biases for the way in use."""
        self.learning, self.shifts = True, {}
        self.logits(images)
        self.learning = False

    def kept(self, image, x):
        if self.learning and self.way == "f32":
            self.most[image] = np.float32(np.abs(x).max())
        return rounded(x, self.most.get(image), self.way_of(image == self.last_image), False)

    def way_of(self, last):
        return "bf16" if last and self.way != "f32" else self.way

    def weight(self, layer, seen):
        """What is rounded is the weight times the scale of the image that it is multiplied with, as a joined image needs."""
        if layer not in self.weights:
            w = self.numbers[f"{layer}.weight"].transpose(2, 3, 1, 0)
            share, way = np.ones(w.shape[2], np.float32), self.way_of(seen[0][0] == self.last_image)
            if way in ("e4m3", "int8"):
                share = np.concatenate([np.full(c, power_of_two(self.most[image])) for image, c in seen])
            scaled = w * share[:, None]
            self.weights[layer] = np.ascontiguousarray(rounded(scaled, np.abs(scaled).max((0, 1, 2)), way, True) / share[:, None])
        return self.weights[layer]

    def convolve(self, layer, x, seen, relu=True):
        w = self.weight(layer, seen)
        cut = self.places and seen[0][0] != self.last_image
        y = self.sums(x, w, self.places) if cut else convolved(x, w)
        y += self.numbers[f"{layer}.bias"]
        if self.learning and self.way == "f32":
            self.means[layer] = y.reshape(-1, y.shape[-1])
        elif self.learning:
            meant = self.means[layer]
            near = (meant > -0.25 * meant.std(0)).astype(np.float32)
            self.shifts[layer] = ((meant - y.reshape(meant.shape)) * near).sum(0) / (near.sum(0) + 1e-9)
        if self.way != "f32" and layer in self.shifts:
            y += self.shifts[layer]
        return np.maximum(y, 0) if relu else y

    def first(self, layer, x):
        w = self.numbers[f"{layer}.weight"].transpose(2, 3, 1, 0)
        if self.way != "f32":
            x, w = bf16(x), bf16(w)
        return np.maximum(convolved(x, w) + self.numbers[f"{layer}.bias"], 0)

    def logits(self, images):
        """`[b, h, w]` of as many."""
        if self.name == "neural-ilt":
            return self.unet(images[..., None])
        path = "fast" if "fast" in self.config else "generator"
        return self.encoder_decoder(path, self.config[path], images[..., None])

    def unet(self, x):
        def two(part, x, seen):
            name = f"{part}.conv1"
            y = self.kept(name, self.convolve(f"unet.{name}", x, seen) if seen else self.first(f"unet.{name}", x))
            return self.kept(part, self.convolve(f"unet.{part}.conv2", y, [(name, y.shape[-1])]))

        images = [two("down1", x, None)]
        for i in (2, 3, 4):
            images.append(two(f"down{i}", halved(images[-1]), [(f"down{i - 1}", images[-1].shape[-1])]))
        x, name = images.pop(), "down4"
        for i in (3, 2, 1):
            skip = images.pop()
            x = rounded(doubled(x), self.most.get(name), self.way, False)
            seen = [(name, x.shape[-1]), (f"down{i}", skip.shape[-1])]
            x, name = two(f"up{i}", np.concatenate([x, skip], -1), seen), f"up{i}"
        return x @ self.numbers["unet.last.weight"][0, :, 0, 0] + self.numbers["unet.last.bias"][0]

    def encoder_decoder(self, path, config, x):
        widths, skips, name = config["widths"], [], None

        def stack(stage, layer, x, seen, refine):
            x = self.kept(stage, self.convolve(f"{path}.{layer}.first", x, seen))
            for r in range(refine):
                x = self.kept(f"{stage}.{r}", self.convolve(f"{path}.{layer}.refine.{r}", x, [(stage, x.shape[-1])]))
                stage = f"{stage}.{r}"
            return x, stage

        for i in range(len(widths)):
            x = fold(x)
            if i == 0:
                x, name = self.kept("down0", self.first(f"{path}.down.0.first", x)), "down0"
            else:
                x, name = stack(f"down{i}", f"down.{i}", x, [(name, x.shape[-1])], config["refine"])
            skips.append((x, name))
        skips.pop()
        for i in reversed(range(1, len(widths))):
            x, name = self.kept(f"up{i}", unfold(self.convolve(f"{path}.up.{i}", x, [(name, x.shape[-1])]))), f"up{i}"
            skip, other = skips.pop()
            seen, x = [(name, x.shape[-1]), (other, skip.shape[-1])], np.concatenate([x, skip], -1)
            x, name = stack(f"join{i}", f"join.{i - 1}", x, seen, config["refine"] if i > 1 else 0)
        return unfold(self.convolve(f"{path}.up.0", x, [(name, x.shape[-1])], relu=False))[..., 0]

    def mask(self, target, logits):
        head, factor = self.config, self.config["upsample"]
        x = ((target * 2 - 1) * head["target_logit"] + logits)[None] * head["logit_scale"]
        offsets = [np.array([(j + 0.5) / factor - 0.5]) for j in range(factor)]
        return mixed(mixed(x, 1, offsets), 2, offsets)[0] >= 0

    def symmetric(self, target):
        return sum(turned_back(self.logits(turned(target, code)[None])[0], code) for code in range(SYMMETRIES)) / SYMMETRIES


def turned(x, code):
    x = x[::-1] if code & 1 else x
    x = x[:, ::-1] if code & 2 else x
    return np.ascontiguousarray(x.T if code & 4 else x)


def turned_back(x, code):
    x = x.T if code & 4 else x
    x = x[:, ::-1] if code & 2 else x
    return x[::-1] if code & 1 else x


def target(path):
    """Coverage of 8 nm pixels of a GLP clip in the middle of its field."""
    shapes = []
    for line in open(path):
        words = line.split()
        if words[:1] == ["RECT"]:
            x, y, w, h = map(float, words[3:7])
            shapes.append([(x, y), (x + w, y), (x + w, y + h), (x, y + h)])
        elif words[:1] == ["PGON"]:
            values = list(map(float, words[3:]))
            shapes.append(list(zip(values[::2], values[1::2])))
    corners = np.concatenate([np.array(shape) for shape in shapes])
    low, high = corners.min(0), corners.max(0)
    origin, image = low - np.floor((FIELD - (high - low)) / 2), np.zeros((FIELD, FIELD), bool)
    for shape in shapes:
        edges = np.zeros((FIELD, FIELD + 1), np.int8)
        points = [tuple(np.rint(np.array(p) - origin).astype(int)) for p in shape]
        for (x, y0), (other, y1) in zip(points, points[1:] + points[:1]):
            if x == other:
                edges[min(y0, y1) : max(y0, y1), x] ^= 1
        image |= np.bitwise_xor.accumulate(edges, 1)[:, :FIELD].astype(bool)
    size = FIELD // SIDE
    return image.reshape(SIDE, size, SIDE, size).mean((1, 3)).astype(np.float32)


def card_sums():
    """Convolutions whose sums are cut as the tensor cores' are."""
    folder = tempfile.mkdtemp()
    library = os.path.join(folder, "sums.so")
    subprocess.check_call(["cc", "-O3", "-march=native", "-shared", "-fPIC", "-o", library, os.path.join(HERE, "hopper_sums.c")])
    run, pointer = ctypes.CDLL(library).convolve, lambda a: a.ctypes.data_as(ctypes.POINTER(ctypes.c_float))

    def sums(x, w, places):
        b, h, width, channels = x.shape
        to = -(-w.shape[3] // 16) * 16
        padded = np.ascontiguousarray(np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))))
        weights, y = np.zeros((9, channels, to), np.float32), np.empty((b, h, width, to), np.float32)
        weights[..., : w.shape[3]] = w.reshape(9, channels, -1)
        for image in range(b):
            run(pointer(padded[image]), pointer(weights), pointer(y[image]), h, width, channels, to, places)
        return np.ascontiguousarray(y[..., : w.shape[3]])

    return sums


def score(lithoburn, mask, clip):
    out = subprocess.run([lithoburn, "score", "--mask", mask, "--target", clip, "--json"], capture_output=True, text=True, check=True)
    return json.loads(out.stdout[out.stdout.index("{") :])


def off(found, expected):
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--lithoburn", default="lithoburn")
    options.add_argument("--calibration", required=True, help="folder of layouts for the scales")
    options.add_argument("--clips", required=True, help="folder of M1_test1.glp to M1_test10.glp")
    options.add_argument("--networks", default="neural-ilt-fast,gan-opc,neural-ilt")
    options.add_argument("--ways", default="f32,bf16,e4m3,e4m3 corrected,int8,int8 corrected")
    options.add_argument("--places", type=int, default=0, help="binary places of sums; 0 leaves them to f32")
    options.add_argument("--whole", action="store_true", help="the last convolution in eight bits, too")
    options.add_argument("--no-masks", action="store_true", help="logits alone")
    options.add_argument("--json", help="file for the rows")
    args = options.parse_args()
    clips = [os.path.join(args.clips, f"M1_test{i}.glp") for i in range(1, 11)]
    targets = [target(clip) for clip in clips]
    known = np.stack([target(path) for path in sorted(glob.glob(os.path.join(args.calibration, "*.glp")))])
    rows, sums = [], card_sums() if args.places else None
    for name in args.networks.split(","):
        network = Network(name, sums, args.whole)
        network.calibrate(known)
        single = [network.logits(t[None])[0] for t in targets]
        whole = None
        for way in args.ways.split(","):
            kind, _, corrected = way.partition(" ")
            network.use(kind, args.places if kind == "e4m3" else 0)
            network.shifts = {}
            if corrected:
                network.correct(known)
            row = dict(network=name, way=way, places=network.places, off=float(np.mean([off(network.logits(t[None])[0], s) for t, s in zip(targets, single)])))
            if not args.no_masks:
                logits = [network.symmetric(t) for t in targets]
                whole = logits if way == "f32" else whole
                with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
                    masks = [os.path.join(folder, f"{i}.png") for i in range(len(clips))]
                    for path, t, y in zip(masks, targets, logits):
                        Image.fromarray(network.mask(t, y).astype(np.uint8) * 255).save(path)
                    scores = list(pool.map(lambda pair: score(args.lithoburn, *pair), zip(masks, clips)))
                if whole:
                    row["off_of_eight"] = float(np.mean([off(y, w) for y, w in zip(logits, whole)]))
                for key in ("l2_nm2", "pvb_nm2", "epe_violations", "epe_violations_3nm"):
                    row[key] = float(np.mean([s[key] for s in scores]))
            rows.append(row)
            print("  ".join(f"{k} {v:.4g}" if isinstance(v, float) and v < 100 else f"{k} {v:.1f}" if isinstance(v, float) else str(v) for k, v in row.items()), flush=True)
    if args.json:
        with open(args.json, "w") as f:
            json.dump(rows, f, indent=1)


if __name__ == "__main__":
    main()
