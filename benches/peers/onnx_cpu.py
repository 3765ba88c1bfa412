"""ONNX Runtime's time for the files of `lithoburn export --onnx`, in turn with `lithoburn bench networks --device cpu` on the same cores.

    lithoburn export --model neural-ilt-fast --onnx fast.onnx && lithoburn export --model neural-ilt --onnx unet.onnx
    python3 benches/peers/onnx_cpu.py --lithoburn target/release/lithoburn fast.onnx=neural-ilt-fast unet.onnx=neural-ilt

Both compute a mask from a target, one at a time. Other work on the machine slows both, so rounds alternate and each pair counts by its
ratio. Needs onnxruntime and numpy.
"""

import argparse
import json
import statistics
import subprocess
import time

import numpy as np
import onnxruntime


def session(path):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    x = (np.random.default_rng(0).random((1, 1, 256, 256)) > 0.5).astype(np.float32)
    return lambda: session.run(None, {name: x})


def milliseconds(run, passes=7):
    times = []
    for _ in range(passes):
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)


def ours(program):
    command = [program, "bench", "networks", "--device", "cpu", "--batches", "1", "--only-fused", "--json"]
    rows = json.loads(subprocess.check_output(command))
    return {row["network"]: row["mask_ms"] for row in rows}


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--lithoburn", required=True, help="the program")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("files", nargs="+", metavar="FILE=NETWORK")
    args = options.parse_args()
    files = dict(reversed(pair.split("=")) for pair in args.files)
    runs = {network: session(path) for network, path in files.items()}
    pairs = {network: [] for network in files}
    for _ in range(args.rounds):
        peer = {network: milliseconds(run) for network, run in runs.items()}
        own = ours(args.lithoburn)
        for network in files:
            pairs[network].append((own[network], peer[network]))
    print(f"onnxruntime {onnxruntime.__version__}; medians of {args.rounds} rounds, ms a mask")
    for network, times in pairs.items():
        own, peer = (statistics.median(column) for column in zip(*times))
        ratio = statistics.median(b / a for a, b in times)
        print(f"{network:16} lithoburn {own:7.1f}  ONNX Runtime {peer:7.1f}  {ratio:.2f} x")


if __name__ == "__main__":
    main()
