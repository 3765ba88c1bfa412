"""PyTorch's DistributedDataParallel for the networks of `lithoburn bench cards`: forward pass, gradients, their mean over the cards by NCCL, Adam.

    lithoburn bench cards --out ours.json && python3 benches/peers/ddp.py --counts 1,2,4 --ours ours.json --json ddp.json

Run both on the same machine. bf16 by autocast, weights in f32, channels last, fused Adam; inputs and weights are random. Eager, and with --graph
in a CUDA graph, gradients' buckets and NCCL included, where PyTorch can capture it. One process a card. Needs torch alone.
"""

import argparse
import json
import os
import socket
import time

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel

from networks import NETWORKS

WARM = 15


def seconds_of(step, steps, rounds=5):
    """Seconds of a step: the median of some rounds, of which the device waits for the host only between."""
    times = []
    for _ in range(rounds):
        torch.cuda.synchronize()
        dist.barrier()
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(steps):
            step()
        torch.cuda.synchronize()
        times.append((time.perf_counter() - start) / steps)
    return sorted(times)[rounds // 2]


def measured(rank, cards, args, name, graph):
    torch.manual_seed(0)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        network = NETWORKS[name]().cuda().to(memory_format=torch.channels_last).train()
        model = DistributedDataParallel(network, device_ids=[rank], gradient_as_bucket_view=True, static_graph=True)
        adam = torch.optim.Adam(model.parameters(), lr=1e-5, fused=True, capturable=graph)
        x = torch.rand(args.batch, 1, args.size, args.size, device="cuda").contiguous(memory_format=torch.channels_last)
        of_logits = torch.rand(args.batch, 1, args.size, args.size, device="cuda") - 0.5

        def step():
            adam.zero_grad(set_to_none=True)
            with torch.autocast("cuda", torch.bfloat16, cache_enabled=not graph):
                y = model(x)
            y.backward(of_logits.to(y.dtype))
            adam.step()

        for _ in range(WARM):
            step()
        torch.cuda.synchronize()
        if not graph:
            return seconds_of(step, args.steps)
        recorded = torch.cuda.CUDAGraph()
        with torch.cuda.graph(recorded, stream=stream):
            step()
        return seconds_of(recorded.replay, args.steps)


def worker(rank, cards, args, port, found):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    # What a recorded step needs: nobody may ask the stream while it is recorded.
    os.environ.setdefault("TORCH_NCCL_ASYNC_ERROR_HANDLING", "0")
    torch.cuda.set_device(rank)
    torch.backends.cudnn.benchmark = True
    dist.init_process_group("nccl", rank=rank, world_size=cards, device_id=torch.device("cuda", rank))
    for name in args.networks.split(","):
        for graph in [False, True] if args.graph else [False]:
            try:
                seconds = measured(rank, cards, args, name, graph)
            except RuntimeError as error:
                if not graph:
                    raise
                if rank == 0:
                    print("no graph:", str(error)[:100], flush=True)
                return
            if rank == 0:
                found.put((name, cards, graph, seconds))
    dist.barrier()
    dist.destroy_process_group()


def free_port():
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        return own.getsockname()[1]


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--counts", default="1,2,4")
    options.add_argument("--batch", type=int, default=16)
    options.add_argument("--size", type=int, default=256)
    options.add_argument("--steps", type=int, default=50)
    options.add_argument("--networks", default=",".join(NETWORKS))
    options.add_argument("--graph", action="store_true")
    options.add_argument("--ours", help="rows of `lithoburn bench cards --out`, to print beside")
    options.add_argument("--json", help="file for the rows")
    args = options.parse_args()
    ours = {}
    for row in json.load(open(args.ours)) if args.ours else []:
        ours[row["network"], row["cards"]] = row["network_ms"]
    print(torch.cuda.get_device_name(0), "torch", torch.__version__, "nccl", torch.cuda.nccl.version())
    print(f"{'network':16} {'cards':>5} {'way':>6} {'ms':>8} {'images/s':>9} {'of one':>7} {'ours ms':>8}")
    rows = []
    context = mp.get_context("spawn")
    for cards in (int(n) for n in args.counts.split(",")):
        if cards > torch.cuda.device_count():
            continue
        found = context.SimpleQueue()
        mp.spawn(worker, (cards, args, free_port(), found), nprocs=cards, join=True)
        while not found.empty():
            name, cards, graph, seconds = found.get()
            way = "graph" if graph else "eager"
            images = args.batch * cards / seconds
            row = dict(network=name, cards=cards, batch=args.batch, way=way, ms=1e3 * seconds, images=images)
            one = next((own for own in rows if (own["network"], own["way"], own["cards"]) == (name, way, 1)), row)
            row["times"] = images / one["images"]
            row["ours_ms"] = ours.get((name, cards))
            rows.append(row)
            mine = "–" if row["ours_ms"] is None else f"{row['ours_ms']:.3f}"
            print(f"{name:16} {cards:5} {way:>6} {row['ms']:8.3f} {images:9.0f} {row['times']:7.2f} {mine:>8}", flush=True)
    if args.json:
        json.dump(rows, open(args.json, "w"), indent=1)


if __name__ == "__main__":
    main()
