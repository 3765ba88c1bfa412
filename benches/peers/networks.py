"""PyTorch's time for the networks of `lithoburn bench networks`: eager and compiled, bf16, channels last, replayed as CUDA graphs.

    lithoburn bench networks --out ours.json && python3 benches/peers/networks.py --ours ours.json --json networks.json

Run both on the same card. Inputs are random, weights too: neither changes the time. Needs torch alone.
"""

import argparse
import json
import time

import torch
import torch.nn.functional as F
from torch import nn

DEVICE = "cuda"


def conv(channels, out, side=3):
    return nn.Conv2d(channels, out, side, padding=side // 2)


class Block(nn.Module):
    def __init__(self, channels, out):
        super().__init__()
        self.one, self.two = conv(channels, out), conv(out, out)

    def forward(self, x):
        return F.relu(self.two(F.relu(self.one(x))))


class UNet(nn.Module):
    """Neural-ILT's U-Net, as published."""

    def __init__(self, width):
        super().__init__()
        w = width
        self.down = nn.ModuleList([Block(1, w), Block(w, 2 * w), Block(2 * w, 4 * w), Block(4 * w, 8 * w)])
        self.up = nn.ModuleList([Block(12 * w, 4 * w), Block(6 * w, 2 * w), Block(3 * w, w)])
        self.last = conv(w, 1, 1)

    def forward(self, x):
        skips = []
        for i, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if i else x)
            skips.append(x)
        skips.pop()
        for block in self.up:
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
            x = block(torch.cat([x, skips.pop()], 1))
        return self.last(x)


class EncoderDecoder(nn.Module):
    """Folds, convolves and unfolds: the fast variant and GAN-OPC's generator."""

    def __init__(self, widths, refine):
        super().__init__()
        finer = [1, *widths]

        def stage(channels, out, count):
            convs = [conv(channels, out), *(conv(out, out) for _ in range(count))]
            return nn.ModuleList(convs)

        depth = range(len(widths))
        own = [0 if i == 0 else refine for i in depth]
        self.down = nn.ModuleList(stage(4 * finer[i], widths[i], own[i]) for i in depth)
        self.up = nn.ModuleList(conv(widths[i], 4 * finer[i]) for i in depth)
        self.join = nn.ModuleList(stage(2 * widths[i], widths[i], own[i]) for i in depth[:-1])

    def forward(self, x):
        skips = []
        for stage in self.down:
            x = F.pixel_unshuffle(x, 2)
            for layer in stage:
                x = F.relu(layer(x))
            skips.append(x)
        skips.pop()
        for i in reversed(range(len(self.up))):
            x = self.up[i](x)
            x = F.pixel_shuffle(F.relu(x) if i else x, 2)
            if i:
                x = torch.cat([x, skips.pop()], 1)
                for layer in self.join[i - 1]:
                    x = F.relu(layer(x))
        return x


NETWORKS = {
    "neural-ilt-fast": lambda: EncoderDecoder([32, 64, 128, 256], 1),
    "gan-opc": lambda: EncoderDecoder([32, 64, 128, 192, 256], 0),
    "neural-ilt": lambda: UNet(32),
    "neural-ilt-64": lambda: UNet(64),
}


def replayed(step, repeats=10, rounds=7):
    """Milliseconds of a step in a CUDA graph: the median of some rounds."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(repeats):
            step()
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


def launched(step, repeats=20, rounds=7):
    """Milliseconds of a step that Python launches, many ahead of the device."""
    times = []
    for _ in range(rounds):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(repeats):
            step()
        torch.cuda.synchronize()
        times.append((time.perf_counter() - start) / repeats * 1e3)
    return sorted(times)[rounds // 2]


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--batches", default="1,16,64")
    options.add_argument("--size", type=int, default=256)
    options.add_argument("--ours", help="rows of `lithoburn bench networks --out`, to print beside")
    options.add_argument("--json", help="file for the rows")
    options.add_argument("--seconds", type=float, default=1e9, help="start nothing more after so long")
    args = options.parse_args()
    start = time.time()
    torch.backends.cudnn.benchmark = True
    ours = {}
    for row in json.load(open(args.ours)) if args.ours else []:
        ours.setdefault((row["network"], row["batch"]), {})[row["way"].split(",")[0]] = row["tiles_per_second"]
    print(torch.cuda.get_device_name(0), "torch", torch.__version__, "cudnn", torch.backends.cudnn.version())
    print(f"{'network':16} {'batch':>5} {'eager':>8} {'eager, graph':>12} {'compiled, graph':>15} {'ours':>8} {'layers':>8}  tiles/s")
    rows = []
    for name, make in NETWORKS.items():
        network = make().to(DEVICE).bfloat16().to(memory_format=torch.channels_last).eval()
        for batch in (int(b) for b in args.batches.split(",")):
            if time.time() - start > args.seconds:
                break
            x = torch.rand(batch, 1, args.size, args.size, device=DEVICE).bfloat16()
            x = x.contiguous(memory_format=torch.channels_last)
            with torch.no_grad():
                eager, graph = launched(lambda: network(x)), replayed(lambda: network(x))
                torch._dynamo.reset()
                compiled = torch.compile(network)
                compiled(x)
                fused = replayed(lambda: compiled(x))
            rate = lambda ms: batch / ms * 1e3
            own = ours.get((name, batch), {})
            mine, layers = own.get("one operation"), own.get("layer by layer")
            row = dict(network=name, batch=batch, eager=rate(eager), eager_graph=rate(graph), compiled_graph=rate(fused), ours=mine, layers=layers)
            rows.append(row)
            shown = lambda v: "–" if v is None else f"{v:.0f}"
            times = "" if mine is None else f"  {mine / rate(fused):.2f} x compiled"
            print(f"{name:16} {batch:5} {rate(eager):8.0f} {rate(graph):12.0f} {rate(fused):15.0f} {shown(mine):>8} {shown(layers):>8}{times}", flush=True)
    if args.json:
        json.dump(rows, open(args.json, "w"), indent=1)


if __name__ == "__main__":
    main()
