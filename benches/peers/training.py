"""PyTorch's time for a forward and a backward pass of the networks of `lithoburn bench training`: bf16 by autocast, weights in f32, channels last.

    lithoburn bench training --only-fused --out ours.json && python3 benches/peers/training.py --ours ours.json --json training.json

Run both on the same card. Compiled, and compiled in a CUDA graph; inputs and weights are random. Needs torch alone.
"""

import argparse
import json
import time

import torch

from networks import DEVICE, NETWORKS, launched, replayed


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--batches", default="16")
    options.add_argument("--size", type=int, default=256)
    options.add_argument("--networks", default=",".join(NETWORKS))
    options.add_argument("--ours", help="rows of `lithoburn bench training --out`, to print beside")
    options.add_argument("--json", help="file for the rows")
    options.add_argument("--seconds", type=float, default=1e9, help="start nothing more after so long")
    args = options.parse_args()
    start = time.time()
    torch.backends.cudnn.benchmark = True
    ours = {}
    for row in json.load(open(args.ours)) if args.ours else []:
        if row["way"] == "one operation":
            ours[row["network"], row["batch"]] = row
    print(torch.cuda.get_device_name(0), "torch", torch.__version__, "cudnn", torch.backends.cudnn.version())
    print(f"{'network':16} {'batch':>5} {'eager':>8} {'compiled':>9} {'compiled, graph':>15} {'ours':>8}  ms of forward and backward")
    rows = []
    for name in args.networks.split(","):
        torch.manual_seed(0)
        network = NETWORKS[name]().to(DEVICE).to(memory_format=torch.channels_last).train()
        for batch in (int(b) for b in args.batches.split(",")):
            if time.time() - start > args.seconds:
                break
            x = torch.rand(batch, 1, args.size, args.size, device=DEVICE).contiguous(memory_format=torch.channels_last)
            of_logits = torch.rand(batch, 1, args.size, args.size, device=DEVICE) - 0.5

            def step(forward):
                for parameter in network.parameters():
                    parameter.grad = None
                with torch.autocast("cuda", torch.bfloat16):
                    y = forward(x)
                y.backward(of_logits.to(y.dtype))

            eager = launched(lambda: step(network), 5, 5)
            torch._dynamo.reset()
            compiled = torch.compile(network)
            step(compiled)
            fused = launched(lambda: step(compiled), 10, 5)
            try:
                graph = replayed(lambda: step(compiled), 3, 5)
            except RuntimeError as error:
                print("no graph:", str(error)[:100])
                graph = None
            best = min(ms for ms in (fused, graph) if ms)
            own = ours.get((name, batch))
            mine = own and own["gradient_ms"]
            rows.append(dict(network=name, batch=batch, eager_ms=eager, compiled_ms=fused, compiled_graph_ms=graph, ours_ms=mine))
            shown = lambda v: "–" if v is None else f"{v:.3f}"
            times = "" if mine is None else f"  {mine / best:.2f} of the faster"
            print(f"{name:16} {batch:5} {eager:8.3f} {fused:9.3f} {shown(graph):>15} {shown(mine):>8}{times}", flush=True)
    if args.json:
        json.dump(rows, open(args.json, "w"), indent=1)


if __name__ == "__main__":
    main()
