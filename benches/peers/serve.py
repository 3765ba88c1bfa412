"""Our server beside the real Triton, on devices that sleep: scheduler, tails, refusals, transport, overload, and a soak of ours alone.

    cargo build --release -p lithoburn-server --example sleeping --example flood --example transport
    python3 -m venv clients && clients/bin/pip install 'tritonclient[http,grpc]' numpy
    /usr/bin/python3 -m venv triton && triton/bin/pip install nvidia-pytriton==0.7.0
    clients/bin/python benches/peers/serve.py --examples target/release/examples --triton triton [scheduler|tail|refusals|transport|clients|drowned|soak ...]

Both serve one model that sleeps a while for a batch and a while for each item, and answers with its input. Triton's runs in its Python backend, one instance for
a device. Runs alternate, because other work on the machine slows both. Scheduler, tail, overload and soak are loaded by the example `flood` over HTTP, transport by
the example `transport`, which do next to nothing of their own; refusals and `clients`, which is transport once more, by tritonclient. With --analyzer, transport is measured by
perf_analyzer too (its libraries are LD_LIBRARY_PATH's). Without --triton only ours is measured. Traffic stays on 127.0.0.1.
"""

import argparse
import contextlib
import json
import os
import pathlib
import queue
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid

import numpy as np
import tritonclient.grpc as grpc
import tritonclient.http as http
import tritonclient.utils.shared_memory as memory

PORTS = {"ours": (8100, 8101, 8102), "triton": (8200, 8201, 8202)}

CONFIG = """
name: "tile"
backend: "python"
max_batch_size: {batch}
input [ {{ name: "target" data_type: TYPE_FP32 dims: [ 1, -1, -1 ] }} ]
output [ {{ name: "mask" data_type: TYPE_FP32 dims: [ 1, -1, -1 ] }} ]
instance_group [ {{ kind: KIND_CPU count: {devices} }} ]
dynamic_batching {{ max_queue_delay_microseconds: 500 {policy} }}
"""

MODEL = """
import time
import triton_python_backend_utils as utils

class TritonPythonModel:
    def execute(self, requests):
        inputs = [utils.get_input_tensor_by_name(r, "target").as_numpy() for r in requests]
        time.sleep(({base} + {item} * sum(len(x) for x in inputs)) / 1e6)
        return [utils.InferenceResponse([utils.Tensor("mask", x)]) for x in inputs]
"""


def wait_for(port, process):
    for _ in range(600):
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready", timeout=1)
            return
        if process.poll() is not None:
            raise SystemExit(f"the server on port {port} ended with {process.returncode}")
        time.sleep(0.1)
    raise SystemExit(f"the server on port {port} is not ready after a minute")


@contextlib.contextmanager
def started(command, port, environment=None):
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(port, process)
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


def ours(args, devices, base, item, batch, waits=None, timeout=0):
    ports = [f"{name}=127.0.0.1:{port}" for name, port in zip(("http", "grpc", "metrics"), PORTS["ours"])]
    model = [f"devices={devices}", f"base-us={base}", f"item-us={item}", f"batch={batch}"]
    limits = [f"queue={waits or 1024}", f"timeout-us={timeout}"]
    return started([args.examples / "sleeping", *model, *limits, *ports], PORTS["ours"][0])


@contextlib.contextmanager
def triton(args, devices, base, item, batch, waits=None, timeout=0):
    home = next(pathlib.Path(args.triton).glob("lib/python3.*/site-packages/pytriton"))
    server = home / "tritonserver"
    limits = (f"max_queue_size: {waits} " if waits else "") + (f"default_timeout_microseconds: {timeout} " if timeout else "")
    policy = f"default_queue_policy {{ {limits} }}" if limits else ""
    with tempfile.TemporaryDirectory() as folder:
        version = pathlib.Path(folder, "models", "tile", "1")
        version.mkdir(parents=True)
        (version / "model.py").write_text(MODEL.format(base=base, item=item))
        (version.parent / "config.pbtxt").write_text(CONFIG.format(devices=devices, batch=batch, policy=policy))
        backends = pathlib.Path(folder, "backends")
        subprocess.run(["cp", "-r", server / "backends", backends], check=True)
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        subprocess.run(["cp", server / "python_backend_stubs" / python / "triton_python_backend_stub", backends / "python"], check=True)
        libraries = ":".join(str(path) for path in (*home.glob("**/external_libs"), *home.parent.glob("*.libs")))
        environment = dict(
            os.environ,
            LD_LIBRARY_PATH=libraries,
            PYTHONPATH=str(home.parent),
            VIRTUAL_ENV=str(args.triton),
            PATH=f"{pathlib.Path(args.triton) / 'bin'}:{os.environ['PATH']}",
        )
        ports = dict(zip(("http", "grpc", "metrics"), PORTS["triton"]))
        options = [f"--{name}-port={port}" for name, port in ports.items()]
        command = [server / "bin" / "tritonserver", f"--model-repository={folder}/models", f"--backend-directory={backends}", *options]
        with started(command, PORTS["triton"][0], environment) as process:
            yield process


def flood(port, clients, seconds):
    """So many requests in flight; returns how many were refused."""
    client = grpc.InferenceServerClient(f"127.0.0.1:{port}")
    values = np.zeros((1, 1, 64, 64), np.float32)
    tensor = grpc.InferInput("target", values.shape, "FP32")
    tensor.set_data_from_numpy(values)
    done = queue.Queue()
    send = lambda: client.async_infer("tile", [tensor], lambda result, error: done.put(error))
    for _ in range(clients):
        send()
    refused, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        refused += done.get(timeout=60) is not None
        send()
    refused += sum(done.get(timeout=60) is not None for _ in range(clients))
    client.close()
    return refused


def loaded(args, port, levels, seconds, side=64):
    """The example's numbers for each number of requests in flight, or a second."""
    program = [args.examples / "flood", f"http://127.0.0.1:{port}", "tile", str(side), str(seconds)]
    lines = subprocess.run([*program, ",".join(map(str, levels))], check=True, capture_output=True, text=True).stdout
    return [json.loads(line) for line in lines.splitlines()]


def servers(args):
    return [("ours", ours)] + ([("triton", triton)] if args.triton else [])


def scheduler(args):
    print("scheduler: a batch sleeps 80 ms + 4 ms an item, at most 8 items; ideal 71.4 requests/s a device")
    for devices in (1, 2, 4, 8):
        for name, start in servers(args):
            with start(args, devices, 80_000, 4_000, 8):
                levels = sorted({8, 8 * devices})
                for clients, row in zip(levels, loaded(args, PORTS[name][0], levels, args.seconds)):
                    ideal = f"{row['rate'] / (devices * 8 / 0.112):.3f} of ideal" if clients == 8 * devices else ""
                    print(f"  {name:7} devices {devices} in flight {clients:3}  {row['rate']:6.1f}/s  p50 {row['p50_ms']:6.1f}  most {row['most_ms']:6.1f} ms  {ideal}", flush=True)


def tail(args):
    print("tail: a batch sleeps 2 ms + 0.5 ms an item, at most 32; queue of 64, deadline 2 s")
    levels = (8, 16, 32, 64)
    for name, start in servers(args):
        with start(args, 1, 2_000, 500, 32, 64, 2_000_000):
            for clients, row in zip(levels, loaded(args, PORTS[name][0], levels, args.seconds)):
                p50, p99, most = row["p50_ms"], row["p99_ms"], row["most_ms"]
                print(f"  {name:7} in flight {clients:3}  {row['rate']:6.0f}/s of {row['requests']}  p50 {p50:6.1f}  p99 {p99:6.1f} ms  p99/p50 {p99 / p50:5.2f}  most {most:6.1f}  failures {row['failures']}", flush=True)


def refusals(args):
    print("refusals: 128 in flight, a queue of 16, for a while; those that clients saw and those that /metrics has")
    for name, start in servers(args):
        with start(args, 1, 80_000, 4_000, 8, 16):
            refused = flood(PORTS[name][1], 128, args.seconds)
            page = urllib.request.urlopen(f"http://127.0.0.1:{PORTS[name][2]}/metrics").read().decode()
        lines = [line for line in page.splitlines() if line.startswith("nv_inference_request_failure") and 'model="tile"' in line]
        counted = sum(float(line.split()[-1]) for line in lines)
        print(f"  {name:7} seen {refused}, counted {counted:.0f}", flush=True)


def timed(call, seconds):
    """Milliseconds of each call, one after the other."""
    for _ in range(20):
        call()
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) * 1e3)
    return times


def server_ms(port):
    """Mean milliseconds of a request inside the server, and how many."""
    page = json.loads(urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/models/tile/stats").read())
    success = page["model_stats"][0]["inference_stats"]["success"]
    return success["ns"] / 1e6, success["count"]


def transports(name, side, kind):
    """A call for each way to send an image, and how to end."""
    values = (np.random.default_rng(3).random((1, 1, side, side)) > 0.5).astype(kind)
    ends = []

    def way(api, port):
        client = api.InferenceServerClient(f"127.0.0.1:{port}")
        ends.append(client.close)
        datatype = "FP32" if kind is np.float32 else "UINT8"
        tensor = api.InferInput("target", values.shape, datatype)
        tensor.set_data_from_numpy(values)
        return client, tensor, datatype

    def shared(api, port):
        client, tensor, datatype = way(api, port)
        key, size = f"/serve_{uuid.uuid4().hex}", values.nbytes
        region = memory.create_shared_memory_region("both", key, 2 * size)
        memory.set_shared_memory_region(region, [values])
        client.unregister_system_shared_memory()
        client.register_system_shared_memory("both", key, 2 * size)
        ends.append(lambda: memory.destroy_shared_memory_region(region))
        tensor = api.InferInput("target", values.shape, datatype)
        tensor.set_shared_memory("both", size)
        output = api.InferRequestedOutput("mask")
        output.set_shared_memory("both", size, offset=size)
        return lambda: client.infer("tile", [tensor], outputs=[output])

    def plain(api, port):
        client, tensor, _ = way(api, port)
        return lambda: client.infer("tile", [tensor])

    ports = PORTS[name]
    calls = {"HTTP": plain(http, ports[0]), "gRPC": plain(grpc, ports[1]), "HTTP+shm": shared(http, ports[0])}
    return calls, ends


IMAGES = ((64, "FP32"), (256, "FP32"), (1024, "FP32"), (1024, "UINT8"))
WAYS = ("http", "grpc", "shm")


def way_of(args, name, way, side, datatype):
    """What the example measures: a median, in ms."""
    port = PORTS[name][1 if way == "grpc" else 0]
    program = [args.examples / "transport", way, f"127.0.0.1:{port}", "tile", datatype, str(side), str(args.seconds / 4)]
    return json.loads(subprocess.run(program, check=True, capture_output=True, text=True).stdout)["p50_ms"]


def analyzed(args, name, way, side, datatype):
    """What perf_analyzer measures: a median, in ms."""
    with tempfile.NamedTemporaryFile() as table:
        port = PORTS[name][1 if way == "grpc" else 0]
        memory = ["--shared-memory", "system", "--output-shared-memory-size", str(4 * side * side)] if way == "shm" else []
        options = ["-u", f"127.0.0.1:{port}", "-i", "grpc" if way == "grpc" else "http", "--shape", f"target:1,{side},{side}", *memory]
        terms = ["-p", str(int(args.seconds * 250)), "-r", "3", "-s", "999", "--input-data", "zero", "-f", table.name]
        command = [args.analyzer, "-m", "tile", "--concurrency-range", "1", *options, *terms]
        subprocess.run(command, check=True, capture_output=True)
        header, row = pathlib.Path(table.name).read_text().splitlines()[:2]
        return float(row.split(",")[header.split(",").index("p50 latency")]) / 1e3


def beside(args, title, measure, images):
    print(f"{title}: one request at a time; a client's median less the server's mean, ms, medians over rounds")
    with contextlib.ExitStack() as stack:
        for name, start in servers(args):
            stack.enter_context(start(args, 1, 1_000, 0, 8))
        for side, datatype in images:
            for way in WAYS:
                names = [name for name, _ in servers(args) if name == "ours" or datatype == "FP32"]
                rows = {name: [] for name in names}
                for _ in range(args.rounds):
                    for name in names:
                        before = server_ms(PORTS[name][0])
                        median = measure(args, name, way, side, datatype)
                        after = server_ms(PORTS[name][0])
                        rows[name].append(median - (after[0] - before[0]) / max(after[1] - before[1], 1))
                mine = statistics.median(rows["ours"])
                text = f"  {side}² {datatype:5} {way:4} ours {mine:6.3f}"
                if "triton" in rows:
                    theirs = statistics.median(rows["triton"])
                    text += f"  triton {theirs:6.3f}  {mine / theirs:.2f} x"
                print(text, flush=True)


def transport(args):
    beside(args, "transport", way_of, IMAGES)
    if args.analyzer:
        beside(args, "transport by perf_analyzer", analyzed, IMAGES[:3])


def clients(args):
    print("clients: as transport, by tritonclient, which copies in Python too")
    with contextlib.ExitStack() as stack:
        for name, start in servers(args):
            stack.enter_context(start(args, 1, 1_000, 0, 8))
        for side, kind in ((64, np.float32), (256, np.float32), (1024, np.float32), (1024, np.uint8)):
            rows = {}
            names = [name for name, _ in servers(args) if name == "ours" or kind is np.float32]
            ways = {name: transports(name, side, kind) for name in names}
            for _ in range(args.rounds):
                for way in ("HTTP", "gRPC", "HTTP+shm"):
                    for name in names:
                        before = server_ms(PORTS[name][0])
                        times = timed(ways[name][0][way], args.seconds / 4)
                        after = server_ms(PORTS[name][0])
                        inside = (after[0] - before[0]) / max(after[1] - before[1], 1)
                        rows.setdefault((way, name), []).append(statistics.median(times) - inside)
            for _, ends in ways.values():
                for end in reversed(ends):
                    end()
            for way in ("HTTP", "gRPC", "HTTP+shm"):
                mine = statistics.median(rows[way, "ours"])
                text = f"  {side}² {np.dtype(kind).name:8} {way:9} ours {mine:6.2f}"
                if (way, "triton") in rows:
                    theirs = statistics.median(rows[way, "triton"])
                    text += f"  triton {theirs:6.2f}  {mine / theirs:.2f} x"
                print(text, flush=True)


def resident(process):
    """Resident memory in MB."""
    lines = pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1e3 for line in lines if line.startswith("VmRSS"))


def drowned(args):
    print("drowned: 20 ms and 2.5 ms an item, at most 8, a queue of 16; ten times its best load, at random, for a minute")
    for name, start in servers(args):
        with start(args, 1, 20_000, 2_500, 8, 16) as process:
            best = max(loaded(args, PORTS[name][0], (8, 16, 24), args.seconds), key=lambda row: row["rate"])
            before = resident(process)
            with_peak = [before]
            flood = subprocess.Popen(
                [args.examples / "flood", f"http://127.0.0.1:{PORTS[name][0]}", "tile", "64", "20", f"rate:{10 * best['rate']:.0f}"],
                stdout=subprocess.PIPE,
                text=True,
            )
            while flood.poll() is None:
                with_peak.append(resident(process))
                time.sleep(0.5)
            row = json.loads(flood.stdout.read())
            refused = sum(row["failures"].values())
            print(
                f"  {name:7} best {best['rate']:6.1f}/s p99 {best['p99_ms']:6.1f} ms; drowned {row['rate']:6.1f}/s, {row['rate'] / best['rate']:.3f} of it, "
                f"p99 {row['p99_ms']:6.1f} ms, {row['p99_ms'] / best['p99_ms']:.2f} x, refused {refused}; memory {before:.1f}, at most {max(with_peak):.1f} MB",
                flush=True,
            )


def soak(args):
    print(f"soak: {args.requests} requests of 16² pixels, 32 in flight, on a device of no time")
    with ours(args, 1, 0, 0, 32) as process:
        points, count = [], 0
        while count < args.requests:
            loaded(args, PORTS["ours"][0], (32,), 5, side=16)
            count = server_ms(PORTS["ours"][0])[1]
            points.append((count / 1e5, resident(process)))
            print(f"  {count:8} requests  {points[-1][1]:.2f} MB", flush=True)
        settled = [point for point in points if point[0] >= 1]
        slope = np.polyfit(*zip(*settled), 1)[0] if len(settled) > 1 else float("nan")
        print(f"  {slope:.3f} MB for 10^5 requests, after the first 10^5")


MEASURES = {measure.__name__: measure for measure in (scheduler, tail, refusals, transport, clients, drowned, soak)}


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--examples", required=True, type=pathlib.Path, help="the folder of the built examples")
    options.add_argument("--triton", help="a virtual environment with nvidia-pytriton")
    options.add_argument("--analyzer", help="the program perf_analyzer")
    options.add_argument("--requests", type=int, default=1_000_000, help="of the soak")
    options.add_argument("--seconds", type=float, default=8)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("measures", nargs="*", metavar="|".join(MEASURES))
    args = options.parse_args()
    for name in args.measures or MEASURES:
        MEASURES[name](args)


if __name__ == "__main__":
    main()
