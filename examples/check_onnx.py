#!/usr/bin/env python3
"""Checks that ONNX Runtime computes the masks that lithoburn computes.

    pip install onnx onnxruntime numpy safetensors
    lithoburn export --onnx network.onnx --samples 20
    python3 examples/check_onnx.py network.onnx

Checks the file against the format, runs it on the targets of network.samples.safetensors, and prints the largest
difference from the masks there. Exit status 1 if it is more than 1e-4: masks are sigmoids of logits, in f32, and imported
networks with logits in the thousands may differ by more near their masks' edges.
"""

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from safetensors.numpy import load_file

MOST = 1e-4

path = Path(sys.argv[1])
model = onnx.load(path)
onnx.checker.check_model(model, full_check=True)
print("metadata", {prop.key: prop.value for prop in model.metadata_props})

samples = load_file(path.with_suffix(".samples.safetensors"))
session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
worst, flipped, beyond = 0.0, 0, 0
for target, expected in zip(samples["target"], samples["mask"]):
    (mask,) = session.run(["mask"], {"target": target[None]})
    off = np.abs(mask[0] - expected)
    worst = max(worst, float(off.max()))
    beyond += int((off > 1e-4).sum())
    flipped += int(((mask[0] >= 0.5) != (expected >= 0.5)).sum())

# A batch is its images.
batch = samples["target"][:2]
(masks,) = session.run(["mask"], {"target": batch})
alone = [session.run(["mask"], {"target": target[None]})[0][0] for target in batch]
together = float(np.abs(masks - np.stack(alone)).max())

print(f"{len(samples['target'])} targets of {target.shape[1:]}, masks of {expected.shape[1:]}")
print(f"largest difference {worst:.3g}, within a batch {together:.3g}")
print(f"of {samples['mask'].size} pixels, {beyond} differ by more than 1e-4, {flipped} are on the other side of 0.5")
sys.exit(0 if max(worst, together) <= MOST else 1)
