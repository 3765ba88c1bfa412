"""The convolutions of the known networks in e4m3 beside bf16, on a Hopper card: right or wrong, and how long.

    python3 benches/peers/hopper_steps_e4m3.py --batches 1,16,64 --json steps.json

Needs torch and nvcc, as hopper_steps.py does, whose cases it changes.
A number that is made must be a sixteenth (half a step of e4m3) and 5 % of the image's root mean square off an f32 convolution of the same numbers at
most: the tensor cores keep 13 places of a sum, which shows where a sum is small. The share of bytes that are not the rounded f32 sums is printed.
"""

import argparse
import ctypes as C
import json
import os
import subprocess
import tempfile

import torch
import torch.nn.functional as F

import hopper_steps as hs

E4 = torch.float8_e4m3fn
RINGS = {(128, 0): [(32, 2, 3), (16, 2, 6), (8, 2, 6)], (64, 0): [(32, 3, 6), (16, 3, 6)], (32, 0): [(32, 3, 6), (16, 3, 6)], (32, 1): [(32, 2, 6), (16, 3, 8)]}


def form(step):
    _, inputs, out, _, kind, then = step
    runs = [c // 2 if kind == "fold" else c for c in inputs]
    run = out // 2 if kind == "unfold" else out
    pair = int(out % 64 != 0 or run % 64 != 0)
    widest = 32 if pair else 128
    block = next(b for b in (128, 64, 32) if b <= widest and all(r % b == 0 for r in runs))
    return block, pair, run


def tiling(step, batch, processors):
    block, pair, _ = form(step)
    side = hs.SIDE // step[3]
    for rows, x, w in RINGS[block, pair]:
        tall = rows * (2 if pair else 1)
        tiles = -(-side // 8) * -(-side // tall) * batch * (step[2] // (32 if pair else 64))
        if tall <= -(-side // 16) * 16 and 10 * tiles >= 9 * processors:
            break
    made = 2 if step[5] == hs.LAST else 1
    return "CONVOLVE", rows, block, pair, x, w, step[5], 1, made


class Driver(hs.Driver):
    def __init__(self, tilings):
        self.cu = C.CDLL("libcuda.so.1")
        lines = [hs.line(t) for t in sorted(tilings)]
        with tempfile.TemporaryDirectory() as folder:
            source, cubin = os.path.join(folder, "all.cu"), os.path.join(folder, "all.cubin")
            with open(hs.TEXT) as text, open(source, "w") as f:
                f.write(text.read() + "\n" + "\n".join(lines) + "\n")
            subprocess.check_call(["nvcc", "-gencode=arch=compute_90a,code=sm_90a", "-cubin", "-O3", "-o", cubin, source])
            with open(cubin, "rb") as f:
                data = f.read()
        self.module, self.functions = C.c_void_p(), {}
        hs.ck(self.cu.cuModuleLoadData(C.byref(self.module), C.c_char_p(data)), "load")

    def map_bytes(self, image, folded, box):
        """As `map`, of bytes; the swizzle is as long as a box's row."""
        b, h, w, c = image.shape
        f = 2 if folded else 1
        dims, line = (c * f, w // f, f, h // f, b), c * w
        strides = (c * f, line, line * f, line * h)
        raw = (C.c_char * 192)()
        at = (C.addressof(raw) + 63) // 64 * 64
        swizzle = {128: 3, 64: 2, 32: 1}[box[0]]
        args = (C.c_uint64 * 5)(*dims), (C.c_uint64 * 4)(*strides), (C.c_uint32 * 5)(*box), (C.c_uint32 * 5)(1, 1, 1, 1, 1)
        hs.ck(self.cu.cuTensorMapEncodeTiled(C.c_void_p(at), 0, 5, C.c_void_p(image.data_ptr()), *args, 0, swizzle, 3, 0), f"map of bytes {dims}")
        return raw, at


def packed(weight, block, pair, deal):
    """As hopper_steps.packed, of bytes; `deal`: rows r and r + 8 of each 16 are channels 2r and 2r + 1."""
    out, inputs = weight.shape[:2]
    w = weight.to(E4).view(torch.uint8).permute(0, 2, 3, 1)
    if pair:
        rows = torch.zeros(out // 32, 2, 32, 4, 3, inputs, dtype=w.dtype, device=w.device)
        rows[:, 0, :, 0:3], rows[:, 1, :, 1:4] = (w.reshape(out // 32, 32, 3, 3, inputs),) * 2
        w = rows.reshape(out // 32, 64, 4, 3, inputs)
    else:
        w = w.reshape(out // 64, 64, 3, 3, inputs)
    if deal:
        row = torch.arange(64, device=w.device)
        w = w[:, row // 16 * 16 + row % 8 * 2 + row % 16 // 8]
    w = w.reshape(*w.shape[:-1], inputs // block, block).permute(0, 4, 2, 3, 1, 5).contiguous()
    row, chunk = torch.arange(64, device=w.device)[:, None], torch.arange(block // 16, device=w.device)[None]
    source = chunk ^ {128: row & 7, 64: row >> 1 & 3, 32: row >> 2 & 1}[block]
    chunks = w.reshape(*w.shape[:-1], block // 16, 16)
    return torch.gather(chunks, -2, source[..., None].expand(*chunks.shape)).contiguous()


class Case:
    def __init__(self, step, batch, driver, processors):
        _, inputs, out, shrink, kind, then = step
        side, folded = hs.SIDE // shrink, kind == "fold"
        self.t = _, rows, block, pair, _, _, _, _, made_bytes = tiling(step, batch, processors)
        noise = lambda *shape: torch.randn(*shape, device=hs.DEVICE)
        scale = 2 if folded else 1
        # What a ReLU leaves, as images between steps are.
        self.images = [noise(batch, side * scale, side * scale, c // scale**2).relu_().mul_(16).to(E4) for c in inputs]
        channels = sum(inputs)
        self.weight = (noise(out, channels, 3, 3) * 64).to(E4).float()
        self.factor = torch.full((out,), (2 / (9 * channels)) ** 0.5 / 64, device=hs.DEVICE) * (0.5 + torch.rand(out, device=hs.DEVICE))
        self.bias, self.last, self.step = noise(out) * 2, noise(out + 1), step
        form_made = (batch, 2 * side, 2 * side, out // 4) if kind == "unfold" else (batch, side, side, out)
        new = lambda *shape: torch.full(shape, 0x7F, device=hs.DEVICE, dtype=torch.uint8)
        self.made, self.pooled = new(*form_made), new(batch, side // 2, side // 2, out)
        self.logits = torch.full((batch, side, side), float("nan"), device=hs.DEVICE)
        tall, own = rows * (2 if pair else 1), 32 if pair else 64
        maps = [driver.map_bytes(x.view(torch.uint8), folded, (block, 10, 1, tall + 2, 1)) for x in self.images]
        maps += maps[:1] * (2 - len(maps))
        maps += [driver.map_bytes(self.made, kind == "unfold", (own, 8, 1, tall, 1)) if then != hs.LAST else maps[0]]
        runs = [c // scale // block for c in inputs] + [1]
        sizes = [-(-side // 8), -(-side // tall), out // own, channels // block, inputs[0] // block, runs[0], runs[1], form(step)[2], batch, side, side, out, 1, 0]
        self.cubes = min(sizes[0] * sizes[1] * batch * sizes[2], processors)
        other = {hs.STORE: self.pooled, hs.POOL: self.pooled, hs.LAST: self.logits}[then]
        self.packed, self.numbers = packed(self.weight, block, pair, made_bytes == 1), torch.cat([self.bias, self.factor])
        pointers = [C.c_uint64(x.data_ptr()) for x in (self.packed, self.numbers, self.last, other)]
        self.keep = maps, pointers, (C.c_int * 14)(*sizes)
        addresses = [at for _, at in maps] + [C.addressof(p) for p in pointers] + [C.addressof(self.keep[2])]
        self.parameters, self.driver = (C.c_void_p * len(addresses))(*addresses), driver
        self.flop = 18 * channels * out * side * side * batch
        own_images = sorted({0, batch - 1})
        xs = [hs.channels_second(x[own_images].float()) for x in self.images]
        self.own, self.x = own_images, torch.cat([hs.fold(x) if folded else x for x in xs], 1)

    def run(self):
        self.driver.launch(self.t, self.cubes, self.parameters)

    def error(self):
        """Share of bytes that differ, share of those that must not, and the relative error of what they stand for (of logits where those are made)."""
        self.run()
        torch.cuda.synchronize()
        kind, then = self.step[4], self.step[5]
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=False, allow_tf32=False):
            y = F.conv2d(self.x, self.weight, padding=1)
        y = F.relu(y * self.factor[None, :, None, None] + self.bias[None, :, None, None])
        if then == hs.LAST:
            want = F.conv2d(y.bfloat16().float(), self.last[:-1].view(1, -1, 1, 1), self.last[-1:])[:, 0]
            got = self.logits[self.own]
            return 0.0, 0.0, ((got - want).norm() / want.norm()).item() + (0 if torch.isfinite(self.logits).all() else float("nan"))
        pairs = [(self.made, hs.unfold(y) if kind == "unfold" else y)] + ([(self.pooled, F.max_pool2d(y, 2))] if then == hs.POOL else [])
        worst = (0.0, 0.0, 0.0)
        for made, want in pairs:
            if (made == 0x7F).any():
                return 1.0, 1.0, float("nan")
            got, real = made[self.own], want.permute(0, 2, 3, 1).contiguous()
            bytes_ = real.clamp(max=448).to(E4).view(torch.uint8)
            far = (got.view(E4).float() - real).abs() > real / 16 * 1.001 + 0.05 * real.square().mean().sqrt()
            off = ((got.view(E4).float() - real).norm() / real.norm()).item()
            worst = tuple(max(a, b) for a, b in zip(worst, ((got != bytes_).float().mean().item(), far.float().mean().item(), off)))
        return worst


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--batches", default="1,16,64")
    options.add_argument("--networks", default="neural-ilt-fast,neural-ilt-64")
    options.add_argument("--json")
    args = options.parse_args()
    torch.manual_seed(0)
    batches, networks = [int(b) for b in args.batches.split(",")], args.networks.split(",")
    processors = torch.cuda.get_device_properties(0).multi_processor_count
    torch.zeros(1, device=hs.DEVICE)
    print(f"{torch.cuda.get_device_name(0)}, {processors} SMs, torch {torch.__version__}")
    steps = {(n, b): hs.NETWORKS[n] for n in networks for b in batches}
    half = hs.Driver({hs.tiling(s, b, processors) for (n, b), all_ in steps.items() for s in all_})
    bytes_ = Driver({tiling(s, b, processors) for (n, b), all_ in steps.items() for s in all_})
    rows = []
    for (network, batch), all_ in steps.items():
        print(f"\n{network}, batch {batch}: us of conv + bias + ReLU (+ what follows)")
        sums = [0.0, 0.0]
        for step in all_:
            case, other = Case(step, batch, bytes_, processors), hs.Case(step, batch, half, processors)
            differ, far, off = case.error()
            right = far == 0 and off <= (2e-2 if step[5] == hs.LAST else 4e-2)
            ours, bf16 = hs.timed(case.run), hs.timed(other.run)
            sums = [sums[0] + ours, sums[1] + bf16]
            rows.append(dict(network=network, batch=batch, step=step[0], flop=case.flop, e4m3_ms=ours, bf16_ms=bf16, differ=differ, far=far, off=off, right=right, tiling=case.t))
            print(f"{step[0]:18} {sum(step[1]):>4} -> {step[2]:<4} rows {case.t[1]:>2} block {case.t[2]:>3} e4m3 {ours * 1e3:7.1f} ({case.flop / ours / 1e9:5.0f} TFLOP/s) bf16 {bf16 * 1e3:7.1f}"
                  f" {bf16 / ours:5.2f} x  bytes differ {differ:.1e}, far {far:.1e}; off {off:.1e} {'' if right else 'WRONG'}", flush=True)
        print(f"{'sum':40} {sums[0] * 1e3:7.1f} {sums[1] * 1e3:7.1f} {sums[1] / sums[0]:5.2f} x")
    if args.json:
        with open(args.json, "w") as f:
            json.dump(rows, f, indent=1)
    raise SystemExit(0 if all(r["right"] for r in rows) else 1)


if __name__ == "__main__":
    main()
