"""ONNX Runtime's time for the files of `lithoburn export --onnx`, in turn with `lithoburn bench networks --device cpu` on the same cores.

    lithoburn export --model neural-ilt-fast --onnx fast.onnx && lithoburn export --model neural-ilt --onnx unet.onnx
    python3 benches/peers/onnx_cpu.py --lithoburn target/release/lithoburn fast.onnx=neural-ilt-fast unet.onnx=neural-ilt

Both compute a mask from a target, one at a time. Other work on the machine slows both, so rounds alternate and each pair counts by
its ratio; the least of a round is what the machine can do when it is left alone for a moment. `--before PROGRAM` measures a second program of
ours in the same rounds, `--operations` prints how long ONNX Runtime's operations take. Needs onnxruntime and numpy.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import tempfile
import time

import numpy as np
import onnxruntime


def session(path, **options):
    chosen = onnxruntime.SessionOptions()
    for name, value in options.items():
        setattr(chosen, name, value)
    session = onnxruntime.InferenceSession(path, chosen, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    x = (np.random.default_rng(0).random((1, 1, 256, 256)) > 0.5).astype(np.float32)
    return session, lambda: session.run(None, {name: x})


def measured(run, passes=7):
    """Milliseconds of the clock, the middle and the least, and of the processor."""
    run()
    times, before = [], resource.getrusage(resource.RUSAGE_SELF).ru_utime
    for _ in range(passes):
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1e3)
    user = resource.getrusage(resource.RUSAGE_SELF).ru_utime - before
    return {"ms": statistics.median(times), "least": min(times), "user": user * 1e3 / passes}


def ours(program, networks, threads, selects=True):
    command = [program, "bench", "networks", "--device", "cpu", "--batches", "1", "--only-fused", "--json"]
    command += ["--networks", ",".join(networks)] if selects else []
    limit = {"RAYON_NUM_THREADS": str(threads)} if threads else {}
    rows = json.loads(subprocess.check_output(command, env=os.environ | limit))
    return {row["network"]: row["mask_ms"] for row in rows}


def operations(path, passes=9):
    """The least time of each operation of a file, ms, in order."""
    with tempfile.TemporaryDirectory() as folder:
        own, run = session(path, enable_profiling=True, profile_file_prefix=f"{folder}/ort")
        for _ in range(passes):
            run()
        events = json.load(open(own.end_profiling()))
    least = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            name = f"{event['args']['op_name']} {event['name'].removesuffix('_kernel_time')}"
            least[name] = min(least.get(name, 1e9), event["dur"] / 1e3)
    return least


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--lithoburn", required=True, help="the program")
    options.add_argument("--before", help="an older one, which may know no --networks")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--threads", type=int, default=0, help="of both; all cores if it is left out")
    options.add_argument("--operations", action="store_true")
    options.add_argument("--json", help="file for all rounds")
    options.add_argument("files", nargs="+", metavar="FILE=NETWORK")
    args = options.parse_args()
    files = dict(reversed(pair.split("=")) for pair in args.files)
    runs = {network: session(path, intra_op_num_threads=args.threads)[1] for network, path in files.items()}
    rounds = []
    for _ in range(args.rounds):
        peer = {network: measured(run) for network, run in runs.items()}
        own = ours(args.lithoburn, files, args.threads)
        before = ours(args.before, files, args.threads, selects=False) if args.before else {}
        rounds.append({network: {"ours": own[network], "before": before.get(network), "peer": peer[network]} for network in files})
        print(json.dumps(rounds[-1]), flush=True)
    print(f"onnxruntime {onnxruntime.__version__}; {args.rounds} rounds, ms a mask")
    for network in files:
        own = [row[network]["ours"] for row in rounds]
        peer = [row[network]["peer"]["ms"] for row in rounds]
        user = statistics.median(row[network]["peer"]["user"] for row in rounds)
        ratio = statistics.median(theirs / mine for theirs, mine in zip(peer, own))
        print(
            f"{network:16} lithoburn {statistics.median(own):7.1f} (least {min(own):.1f})  "
            f"ONNX Runtime {statistics.median(peer):7.1f} (least {min(peer):.1f}, {user:.1f} of the processor)  {ratio:.2f} x"
        )
    if args.json:
        json.dump(rounds, open(args.json, "w"), indent=1)
    if args.operations:
        for network, path in files.items():
            print(network, *(f"  {name:48} {ms:7.2f}" for name, ms in operations(path).items()), sep="\n")


if __name__ == "__main__":
    main()
