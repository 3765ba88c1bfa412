"""The gradients of `models/hopper`'s convolutions one by one: of the input (the forward kernel with turned weights) and of the weights.

    python3 benches/peers/hopper_gradients.py --batch 16 --json gradients.json

As `hopper_steps.py`, which it builds on: checked against f32, timed beside cuDNN's, random inputs.
"""

import argparse
import ctypes as C
import json
import os
import subprocess
import tempfile

import torch

import hopper_steps as steps
from hopper_steps import DEVICE, NETWORKS, SIDE, STORE, channels_second, ck, fold, timed

GRADIENT = os.path.join(steps.HERE, "../../models/hopper/gradient.cu")
THREADS, BLOCK = 416, 64
# Rows of a tile, stages.
RINGS = [(32, 2), (16, 4), (8, 6)]


def parts_of(products, tiles, processors):
    """The rule of `models/hopper/tiles.rs`: the splits of the pixels that a card is done with first, and among those the fewest."""
    cost = lambda splits: -(-products * splits // processors) * -(-tiles // splits)
    return min(range(1, min(tiles, max(1, 4 * processors // products)) + 1), key=lambda splits: (cost(splits) + splits / 16, splits))


class Kernels(steps.Driver):
    """Convolutions and weight gradients, compiled and loaded."""

    def __init__(self, tilings):
        self.cu = C.CDLL("libcuda.so.1")
        lines = [steps.line(t) for t in sorted(tilings)]
        lines += [f"WEIGHT_GRADIENT(weight_gradient_{rows}, {rows}, {stages})" for rows, stages in RINGS]
        with tempfile.TemporaryDirectory() as folder:
            source, cubin = os.path.join(folder, "all.cu"), os.path.join(folder, "all.cubin")
            with open(source, "w") as f:
                f.write("\n".join([open(steps.TEXT).read(), open(GRADIENT).read(), *lines, ""]))
            flags = ["-gencode=arch=compute_90a,code=sm_90a", "-cubin", "-O3", "--split-compile=0"]
            subprocess.check_call(["nvcc", *flags, "-o", cubin, source])
            with open(cubin, "rb") as f:
                data = f.read()
        self.module, self.functions = C.c_void_p(), {}
        ck(self.cu.cuModuleLoadData(C.byref(self.module), C.c_char_p(data)), "load")


def back(step):
    """The steps that make the gradients of a step's inputs."""
    name, inputs, out, shrink, kind, _ = step
    turned = {"fold": "unfold", "unfold": "fold", "": ""}[kind]
    return [(f"{name} to {i}", [out], c, shrink, turned, STORE) for i, c in enumerate(inputs)]


class WeightGradient:
    """A step's weight gradient with random inputs: ours, and cuDNN's."""

    def __init__(self, step, batch, driver, processors):
        _, inputs, out, shrink, kind, _ = step
        side, folded, unfolded = SIDE // shrink, kind == "fold", kind == "unfold"
        noise = lambda *shape: torch.randn(*shape, device=DEVICE).bfloat16()
        f, u = 2 if folded else 1, 2 if unfolded else 1
        self.images = [noise(batch, side * f, side * f, c // f**2) for c in inputs]
        self.gradient = noise(batch, side * u, side * u, out // u**2)
        self.rows, _ = next((r for r in RINGS if r[0] <= side), RINGS[-1])
        runs, run = [c // f for c in inputs], out // u
        per = [-(-r // BLOCK) for r in runs]
        self.blocks = [(i, j) for i, (c, r, p) in enumerate(zip(inputs, runs, per)) for j in range(c // r * p)]
        self.to_blocks = out // run * -(-run // BLOCK)
        tiles = [-(-side // 8), -(-side // self.rows)]
        products = self.to_blocks * len(self.blocks)
        self.splits = parts_of(products, tiles[0] * tiles[1] * batch, processors)
        self.parts = torch.full((self.splits, self.to_blocks, len(self.blocks), 9, BLOCK, BLOCK), float("nan"), device=DEVICE)
        maps = [driver.map(self.gradient, unfolded, (BLOCK, 8, 1, self.rows, 1))]
        maps += [driver.map(x, folded, (BLOCK, 10, 1, self.rows + 2, 1)) for x in self.images]
        maps += maps[1:2] * (3 - len(maps))
        first = sum(i == 0 for i, _ in self.blocks)
        sizes = [*tiles, self.to_blocks, len(self.blocks), first, *(per + [1])[:2], -(-run // BLOCK), batch, side, side, out, 0, self.splits]
        self.keep = maps, C.c_uint64(self.parts.data_ptr()), (C.c_int * 14)(*sizes)
        addresses = [at for _, at in maps] + [C.addressof(self.keep[1]), C.addressof(self.keep[2])]
        self.parameters, self.driver, self.cubes = (C.c_void_p * 5)(*addresses), driver, products * self.splits
        self.runs, self.run_of, self.out, self.inputs = runs, run, out, inputs
        view = lambda x, is_folded: fold(channels_second(x)) if is_folded else channels_second(x)
        last = torch.channels_last
        self.x = torch.cat([view(x, folded) for x in self.images], 1).contiguous(memory_format=last)
        self.dz = view(self.gradient, unfolded).contiguous(memory_format=last)
        self.weight = noise(out, sum(inputs), 3, 3).contiguous(memory_format=last)
        self.flop = 18 * sum(inputs) * out * side * side * batch

    def run(self):
        stream = C.c_void_p(torch.cuda.current_stream().cuda_stream)
        function = self.driver.function(f"weight_gradient_{self.rows}")
        ck(self.driver.cu.cuLaunchKernel(function, self.cubes, 1, 1, THREADS, 1, 1, 0, stream, self.parameters, None), "launch")

    def peer(self, x=None, dz=None, weight=None):
        operands = [a if b is None else b for a, b in ((self.dz, dz), (self.x, x), (self.weight, weight))]
        terms = None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [False, True, False]
        return torch.ops.aten.convolution_backward(*operands, *terms)[1]

    def channels(self, run, view_channels, first):
        """Where each block's channels are among all; -1 where there is none."""
        per, of = -(-run // BLOCK), torch.arange(BLOCK)
        rows = []
        for block in range(view_channels // run * per):
            at = block % per * BLOCK + of
            rows.append(torch.where(at < run, first + block // per * run + at, torch.tensor(-1)))
        return torch.cat(rows)

    def error(self):
        self.run()
        torch.cuda.synchronize()
        to = self.channels(self.run_of, self.out, 0).to(DEVICE)
        firsts = [sum(self.inputs[:i]) for i in range(len(self.inputs))]
        of = torch.cat([self.channels(r, c, f) for r, c, f in zip(self.runs, self.inputs, firsts)]).to(DEVICE)
        found = self.parts.sum(0).permute(0, 3, 1, 4, 2).reshape(len(to), len(of), 9)[to >= 0][:, of >= 0]
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=False, allow_tf32=False):
            halves = zip(self.x.split(4), self.dz.split(4))
            expected = sum(self.peer(x.float(), dz.float(), self.weight.float()) for x, dz in halves).flatten(2)
        return ((found - expected).norm() / expected.norm()).item()


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--batch", type=int, default=16)
    options.add_argument("--networks", default=",".join(NETWORKS))
    options.add_argument("--json", help="file for the rows")
    args = options.parse_args()
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    processors, networks = torch.cuda.get_device_properties(0).multi_processor_count, args.networks.split(",")
    torch.zeros(1, device=DEVICE)
    turned = [s for n in networks for step in NETWORKS[n] for s in back(step)]
    driver = Kernels({steps.tiling(s, args.batch, processors) for s in turned})
    print(f"{torch.cuda.get_device_name(0)}, torch {torch.__version__}, cudnn {torch.backends.cudnn.version()}; batch {args.batch}, us")
    rows = []
    for network in networks:
        print(f"\n{network}\n{'step':18} {'GFLOP':>6} {'of input':>9} {'error':>8} {'of weights':>10} {'TFLOP/s':>7} {'cuDNN':>7} {'splits':>6} {'error':>8}")
        sums = [0.0, 0.0, 0.0]
        for step in NETWORKS[network]:
            cases = [steps.Case(s, args.batch, driver, processors) for s in back(step)]
            of_input = max(case.error() for case in cases), sum(timed(case.run, 5, 5) for case in cases)
            del cases
            case = WeightGradient(step, args.batch, driver, processors)
            error = case.error()
            ours, peer = timed(case.run, 5, 5), timed(case.peer, 5, 5)
            sums = [a + b for a, b in zip(sums, (of_input[1], ours, peer))]
            rows.append(dict(network=network, step=step[0], flop=case.flop, of_input_ms=of_input[1], of_input_error=of_input[0], of_weights_ms=ours,
                             of_weights_error=error, cudnn_of_weights_ms=peer, splits=case.splits, rows=case.rows))
            wrong = "" if error < 1e-4 and of_input[0] < 8e-3 else "  WRONG"
            print(f"{step[0]:18} {case.flop / 1e9:6.1f} {of_input[1] * 1e3:9.1f} {of_input[0]:8.1e} {ours * 1e3:10.1f} {case.flop / ours / 1e9:7.0f} "
                  f"{peer * 1e3:7.1f} {case.splits:6} {error:8.1e}{wrong}", flush=True)
        print(f"{'sum':25} {sums[0] * 1e3:9.1f} {'':8} {sums[1] * 1e3:10.1f} {'':7} {sums[2] * 1e3:7.1f}")
    if args.json:
        json.dump(rows, open(args.json, "w"), indent=1)


if __name__ == "__main__":
    main()
