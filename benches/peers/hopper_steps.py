"""The steps of `models/hopper/kernels.cu` one by one: checked against an f32 convolution, timed beside cuDNN's, and beside the card's own limits.

    python3 benches/peers/hopper_steps.py --batches 1,16,64 --json steps.json

Compiles the text with nvcc for sm_90a, as NVRTC does in the program. Shapes are those of the known networks' steps at 256² pixels; the rule
for tiles is that of `models/hopper/tiles.rs`. Inputs are random. Needs torch, nvcc and a Hopper card.
"""

import argparse
import ctypes as C
import json
import os
import subprocess
import tempfile

import torch
import torch.nn.functional as F

HERE = os.path.dirname(os.path.abspath(__file__))
TEXT = os.path.join(HERE, "../../models/hopper/kernels.cu")
SIDE = 256
DEVICE = torch.device("cuda:0")
# Rows, stages of pixels and of weights: by (block, pair).
RINGS = {(64, 0): [(32, 2, 3), (16, 2, 6), (8, 2, 6)], (32, 1): [(32, 2, 6), (16, 3, 8)], (32, 0): [(32, 3, 6), (16, 3, 6)]}
STORE, POOL, LAST = range(3)
# A cube's threads, by the kernel's name in the text.
THREADS = {"CONVOLVE": 320, "FEW": 160}


def encoder_decoder(widths, refine):
    """Convolutions of an encoder-decoder: name, channels of each input, output channels, shrink, kind, what follows."""
    steps, w = [], widths
    for i in range(1, len(w)):
        steps.append((f"down.{i}.first", [4 * w[i - 1]], w[i], 2 << i, "fold", STORE))
        steps += [(f"down.{i}.refine.{r}", [w[i]], w[i], 2 << i, "", STORE) for r in range(refine)]
    for i in reversed(range(1, len(w))):
        steps.append((f"up.{i}", [w[i]], 4 * w[i - 1], 2 << i, "unfold", STORE))
        steps.append((f"join.{i - 1}.first", [w[i - 1], w[i - 1]], w[i - 1], 1 << i, "", STORE))
        steps += [(f"join.{i - 1}.refine.{r}", [w[i - 1]], w[i - 1], 1 << i, "", STORE) for r in range(refine if i > 1 else 0)]
    return steps


def unet(w):
    down = [("down1.conv2", [w], w, 1, "", POOL)]
    for i in (1, 2, 3):
        c = w << i
        down += [(f"down{i + 1}.conv1", [c // 2], c, 1 << i, "", STORE), (f"down{i + 1}.conv2", [c], c, 1 << i, "", POOL if i < 3 else STORE)]
    up = []
    for i in (2, 1, 0):
        c = w << i
        up += [(f"up{i + 1}.conv1", [2 * c, c], c, 1 << i, "", STORE), (f"up{i + 1}.conv2", [c], c, 1 << i, "", STORE if i else LAST)]
    return down + up


NETWORKS = {
    "neural-ilt-fast": encoder_decoder([32, 64, 128, 256], 1),
    "gan-opc": encoder_decoder([32, 64, 128, 192, 256], 0),
    "neural-ilt": unet(32),
    "neural-ilt-64": unet(64),
}


def form(step):
    """Block, pair and the output's run of a step."""
    _, inputs, out, _, kind, _ = step
    runs = [c // 2 if kind == "fold" else c for c in inputs]
    run = out // 2 if kind == "unfold" else out
    pair = int(out % 64 != 0 or run % 64 != 0)
    return (32 if pair or any(r % 64 for r in runs) else 64), pair, run


def tiling(step, batch, processors, few=True):
    """The kernel's name in the text, and its constants."""
    block, pair, _ = form(step)
    side = SIDE // step[3]
    blocks = sum(step[1]) // block
    tiles = (-(-side // 8)) ** 2 * batch * step[2] // 32
    if few and step[5] != LAST and tiles <= processors * (2 if block <= 32 else 1):
        return "FEW", block, pair, 2 if blocks <= 2 else 4, step[5]
    for rows, x, w in RINGS[block, pair]:
        tall = rows * (2 if pair else 1)
        tiles = -(-side // 8) * -(-side // tall) * batch * (step[2] // (32 if pair else 64))
        if tall <= -(-side // 16) * 16 and 10 * tiles >= 9 * processors:
            break
    return "CONVOLVE", rows, block, pair, x, w, step[5], 2, 2


def name(t):
    return "_".join(map(str, t))


def line(t):
    """What instantiates a kernel."""
    return f"{t[0]}({name(t)}, {', '.join(map(str, t[1:]))})"


def ck(code, what):
    if code:
        raise RuntimeError(f"CUDA driver error {code}: {what}")


class Driver:
    """The kernels, compiled and loaded."""

    def __init__(self, tilings):
        self.cu = C.CDLL("libcuda.so.1")
        lines = [line(t) for t in sorted(tilings)]
        with tempfile.TemporaryDirectory() as folder:
            source, cubin = os.path.join(folder, "all.cu"), os.path.join(folder, "all.cubin")
            with open(TEXT) as text, open(source, "w") as f:
                f.write(text.read() + "\n" + "\n".join(lines) + "\n")
            subprocess.check_call(["nvcc", "-gencode=arch=compute_90a,code=sm_90a", "-cubin", "-O3", "-o", cubin, source])
            with open(cubin, "rb") as f:
                data = f.read()
        self.module, self.functions = C.c_void_p(), {}
        ck(self.cu.cuModuleLoadData(C.byref(self.module), C.c_char_p(data)), "load")

    def function(self, kernel):
        if kernel not in self.functions:
            self.functions[kernel] = C.c_void_p()
            ck(self.cu.cuModuleGetFunction(C.byref(self.functions[kernel]), self.module, kernel.encode()), kernel)
        return self.functions[kernel]

    def map(self, image, folded, box):
        b, h, w, c = image.shape
        f = 2 if folded else 1
        dims, line = (c * f, w // f, f, h // f, b), 2 * c * w
        strides = (2 * c * f, line, line * f, line * h)
        raw = (C.c_char * 192)()
        at = (C.addressof(raw) + 63) // 64 * 64
        swizzle = 3 if box[0] == 64 else 2
        args = (C.c_uint64 * 5)(*dims), (C.c_uint64 * 4)(*strides), (C.c_uint32 * 5)(*box), (C.c_uint32 * 5)(1, 1, 1, 1, 1)
        ck(self.cu.cuTensorMapEncodeTiled(C.c_void_p(at), 9, 5, C.c_void_p(image.data_ptr()), *args, 0, swizzle, 3, 0), f"map of {dims}")
        return raw, at

    def launch(self, tiling, cubes, parameters):
        stream, threads = C.c_void_p(torch.cuda.current_stream().cuda_stream), THREADS[tiling[0]]
        ck(self.cu.cuLaunchKernel(self.function(name(tiling)), cubes, 1, 1, threads, 1, 1, 0, stream, parameters, None), "launch")


def packed(weight, block, pair):
    """As `models/hopper/weights.rs` lays them out."""
    out, inputs = weight.shape[:2]
    w = weight.bfloat16().permute(0, 2, 3, 1)
    if pair:
        rows = torch.zeros(out // 32, 2, 32, 4, 3, inputs, dtype=w.dtype, device=w.device)
        rows[:, 0, :, 0:3], rows[:, 1, :, 1:4] = (w.reshape(out // 32, 32, 3, 3, inputs),) * 2
        w = rows.reshape(out // 32, 64, 4, 3, inputs)
    else:
        w = w.reshape(out // 64, 64, 3, 3, inputs)
    w = w.reshape(*w.shape[:-1], inputs // block, block).permute(0, 4, 2, 3, 1, 5).contiguous()
    row, chunk = torch.arange(64, device=w.device)[:, None], torch.arange(block // 8, device=w.device)[None]
    source = chunk ^ (row & 7) if block == 64 else chunk ^ ((row >> 1) & 3)
    chunks = w.reshape(*w.shape[:-1], block // 8, 8)
    return torch.gather(chunks, -2, source[..., None].expand(*chunks.shape)).contiguous()


def fold(x):
    b, c, h, w = x.shape
    return x.view(b, c, h // 2, 2, w // 2, 2).permute(0, 3, 5, 1, 2, 4).reshape(b, 4 * c, h // 2, w // 2)


def unfold(x):
    b, c, h, w = x.shape
    return x.view(b, 2, 2, c // 4, h, w).permute(0, 3, 4, 1, 5, 2).reshape(b, c // 4, 2 * h, 2 * w)


def channels_second(x):
    return x.permute(0, 3, 1, 2)


class Case:
    """A step with random inputs: ours, and PyTorch's convolution, bias and ReLU of the same."""

    def __init__(self, step, batch, driver, processors, few=True):
        _, inputs, out, shrink, kind, then = step
        side, folded = SIDE // shrink, kind == "fold"
        block, pair, run = form(step)
        self.t = tiling(step, batch, processors, few)
        few = self.t[0] == "FEW"
        new = lambda *shape, dtype=torch.bfloat16: torch.full(shape, float("nan"), device=DEVICE, dtype=dtype)
        noise = lambda *shape: torch.randn(*shape, device=DEVICE)
        scale = 2 if folded else 1
        self.images = [noise(batch, side * scale, side * scale, c // scale**2).bfloat16() for c in inputs]
        channels = sum(inputs)
        self.weight = (noise(out, channels, 3, 3) * (2 / (9 * channels)) ** 0.5).bfloat16().float()
        self.bias, self.last, self.step = noise(out) * 0.1, noise(out + 1), step
        made = (batch, 2 * side, 2 * side, out // 4) if kind == "unfold" else (batch, side, side, out)
        self.made, self.pooled, self.logits = new(*made), new(batch, side // 2, side // 2, out), new(batch, side, side, dtype=torch.float32)
        tall, own = (8, 32) if few else (self.t[1] * (2 if pair else 1), 32 if pair else 64)
        maps = [driver.map(x, folded, (block, 10, 1, tall + 2, 1)) for x in self.images]
        maps += maps[:1] * (2 - len(maps)) + ([] if few else [driver.map(self.made, kind == "unfold", (own, 8, 1, tall, 1))])
        runs = [c // scale // block for c in inputs] + [1]
        sizes = [-(-side // 8), -(-side // tall), out // own, channels // block, inputs[0] // block, runs[0], runs[1], run, batch, side, side, out, 1, 0]
        tiles = sizes[0] * sizes[1] * batch * sizes[2]
        self.cubes = tiles if few else min(tiles, processors)
        other = {STORE: self.pooled, POOL: self.pooled, LAST: self.logits}[then]
        self.packed = packed(self.weight, block, pair)
        buffers = (self.packed, self.bias, self.made, other) if few else (self.packed, self.bias, self.last, other)
        pointers = [C.c_uint64(x.data_ptr()) for x in buffers]
        self.keep = maps, pointers, (C.c_int * 14)(*sizes)
        addresses = [at for _, at in maps] + [C.addressof(p) for p in pointers] + [C.addressof(self.keep[2])]
        self.parameters, self.driver = (C.c_void_p * len(addresses))(*addresses), driver
        self.flop = 18 * channels * out * side * side * batch
        self.bytes = 2 * (sum(x.numel() for x in self.images) + (0 if then == LAST else self.made.numel()) + (self.pooled.numel() if then == POOL else 0))
        self.bytes += 2 * self.weight.numel() + (4 * self.logits.numel() if then == LAST else 0)
        x = torch.cat([fold(channels_second(x)) if folded else channels_second(x) for x in self.images], 1)
        self.x = x.contiguous(memory_format=torch.channels_last)
        self.half = [self.weight.bfloat16().contiguous(memory_format=torch.channels_last), self.bias.bfloat16()]

    def run(self):
        self.driver.launch(self.t, self.cubes, self.parameters)

    def peer(self):
        return torch.relu_(F.conv2d(self.x, *self.half, padding=1))

    def error(self):
        """The largest relative error of what the step makes; NaN if anything was not written."""
        self.run()
        torch.cuda.synchronize()
        kind, then = self.step[4], self.step[5]
        own = sorted({0, self.x.shape[0] - 1})
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=False, allow_tf32=False):
            y = F.relu(F.conv2d(self.x[own].float(), self.weight, self.bias, padding=1))
        pairs = []
        if then != LAST:
            pairs.append((channels_second(self.made), unfold(y) if kind == "unfold" else y))
        if then == POOL:
            pairs.append((channels_second(self.pooled), F.max_pool2d(y, 2)))
        if then == LAST:
            pairs.append((self.logits[:, None], F.conv2d(y, self.last[:-1].view(1, -1, 1, 1), self.last[-1:])))
        errors = [((a[own].float() - b).norm() / b.norm()).item() + (0 if torch.isfinite(a).all() else float("nan")) for a, b in pairs]
        return max(errors, key=lambda e: float("inf") if e != e else e)


def timed(work, repeats=10, rounds=7):
    """Milliseconds in a CUDA graph: the median of some rounds."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(repeats):
            work()
    graph.replay()
    times = []
    for _ in range(rounds):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / repeats)
    return sorted(times)[rounds // 2]


def beside(case, step, batch, driver, processors):
    """Milliseconds of the same by CONVOLVE, which must make the same bits."""
    other = Case(step, batch, driver, processors, few=False)
    for name in ("images", "weight", "bias", "last", "packed"):
        for to, own in zip(*(x if isinstance(x, list) else [x] for x in (getattr(other, name), getattr(case, name)))):
            to.copy_(own)
    other.run()
    torch.cuda.synchronize()
    if not (torch.equal(other.made, case.made) and (step[5] != POOL or torch.equal(other.pooled, case.pooled))):
        raise SystemExit(f"{step[0]}: other bits by CONVOLVE")
    return timed(other.run)


def ceilings():
    """The card's own products of matrices, FLOP/s, and copies, bytes/s."""
    a = torch.randn(8192, 8192, device=DEVICE).bfloat16()
    x = torch.empty(1 << 30, dtype=torch.uint8, device=DEVICE)
    y = torch.empty_like(x)
    return 2 * 8192**3 / timed(lambda: a @ a, 3) * 1e3, 2 * x.numel() / timed(lambda: y.copy_(x), 3) * 1e3


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--batches", default="1,16,64")
    options.add_argument("--networks", default=",".join(NETWORKS))
    options.add_argument("--json", help="file for the rows")
    args = options.parse_args()
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    batches = [int(b) for b in args.batches.split(",")]
    processors = torch.cuda.get_device_properties(0).multi_processor_count
    networks = args.networks.split(",")
    # First of all, since it makes the context that the kernels are loaded into.
    peak, bandwidth = ceilings()
    driver = Driver({tiling(s, b, processors, few) for n in networks for s in NETWORKS[n] for b in batches for few in (False, True)})
    print(f"{torch.cuda.get_device_name(0)}, {processors} SMs, torch {torch.__version__}, cudnn {torch.backends.cudnn.version()}")
    print(f"an 8192 x 8192 product {peak / 1e12:.0f} TFLOP/s, a copy {bandwidth / 1e12:.2f} TB/s")
    rows = []
    for network in networks:
        for batch in batches:
            print(f"\n{network}, batch {batch}: us of conv + bias + ReLU (+ what follows)")
            print(f"{'step':18} {'channels':>10} {'side':>4} {'kernel':>8} {'GFLOP':>6} {'floor':>6} {'ours':>7} {'TFLOP/s':>7} {'cuDNN + ReLU':>12} {'error':>8} {'CONVOLVE':>8}")
            sums = [0.0, 0.0, 0.0]
            for step in NETWORKS[network]:
                case = Case(step, batch, driver, processors)
                error = case.error()
                if not error < 8e-3:
                    raise SystemExit(f"{step[0]} is wrong: {error}")
                other = None if case.t[0] == "CONVOLVE" else beside(case, step, batch, driver, processors)
                floor, ours, peer = max(case.flop / peak, case.bytes / bandwidth) * 1e3, timed(case.run), timed(case.peer)
                sums = [a + b for a, b in zip(sums, (floor, ours, peer))]
                rows.append(dict(network=network, batch=batch, step=step[0], flop=case.flop, bytes=case.bytes, floor_ms=floor, ours_ms=ours, cudnn_ms=peer, error=error, tiling=case.t, convolve_ms=other))
                print(f"{step[0]:18} {sum(step[1]):>4} -> {step[2]:<4}{SIDE // step[3]:>4} {case.t[0]:>8} {case.flop / 1e9:6.1f} {floor * 1e3:6.1f} {ours * 1e3:7.1f} {case.flop / ours / 1e9:7.0f} {peer * 1e3:12.1f} {error:8.1e} {'' if other is None else f'{other * 1e3:8.1f}'}", flush=True)
            for few in (False, True):
                cases = [Case(step, batch, driver, processors, few) for step in NETWORKS[network]]
                chain = timed(lambda: [case.run() for case in cases])
                print(f"one after the other, {'as above' if few else 'all by CONVOLVE'}: {chain * 1e3:.1f} us")
            print(f"{'sum':50} {sums[0] * 1e3:6.1f} {sums[1] * 1e3:7.1f} {'':7} {sums[2] * 1e3:12.1f}")
    if args.json:
        with open(args.json, "w") as f:
            json.dump(rows, f, indent=1)


if __name__ == "__main__":
    main()
