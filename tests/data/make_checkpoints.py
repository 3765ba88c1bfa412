"""Makes the checkpoints of this folder: the published networks' layers at small widths, with random weights.

    pip install torch numpy
    python3 make_checkpoints.py

Each file holds a state dictionary under the published names, an input, and what PyTorch computes from it. They were
made with PyTorch 2.15 on a CPU. Between them they have both formats of torch.save, f16, bf16 and f32, a nested
dictionary and the prefix of DataParallel.
"""

import torch
from torch import nn


def block(channels_in, channels, normalised):
    layers = []
    for c in (channels_in, channels):
        layers.append(nn.Conv2d(c, channels, 3, padding=1))
        if normalised:
            layers.append(nn.BatchNorm2d(channels))
        layers.append(nn.ReLU())
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """Three poolings, bilinear up-sampling with aligned corners; the names of the layers are the caller's."""

    def __init__(self, width, normalised, downs, ups, last, last_side):
        super().__init__()
        self.names = (downs, ups, last)
        w = width
        for name, a, b in zip(downs, (1, w, 2 * w, 4 * w), (w, 2 * w, 4 * w, 8 * w)):
            self.add_module(name, block(a, b, normalised))
        for name, a, b in zip(ups, (12 * w, 6 * w, 3 * w), (4 * w, 2 * w, w)):
            self.add_module(name, block(a, b, normalised))
        conv = nn.Conv2d(w, 1, last_side, padding=last_side // 2)
        self.add_module(last, nn.Sequential(conv) if normalised else conv)

    def forward(self, x):
        downs, ups, last = self.names
        up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        seen = []
        for name in downs:
            x = getattr(self, name)(nn.functional.max_pool2d(x, 2) if seen else x)
            seen.append(x)
        seen.pop()
        for name in ups:
            x = getattr(self, name)(torch.cat([up(x), seen.pop()], 1))
        return getattr(self, last)(x)


class Generator(nn.Module):
    """Strided convolutions down, sub-pixel convolutions up."""

    def __init__(self, widths):
        super().__init__()
        c = [1, *widths]
        stages = []
        for a, b in zip(c, c[1:]):
            stages.append(
                nn.Sequential(nn.Conv2d(a, b, 5, 2, 2), nn.BatchNorm2d(b), nn.ReLU())
            )
        for b, a in reversed(list(zip(c, c[1:]))):
            layers = [nn.Conv2d(a, 4 * b, 3, padding=1), nn.PixelShuffle(2)]
            if b > 1:
                layers += [nn.BatchNorm2d(b), nn.ReLU()]
            stages.append(nn.Sequential(*layers))
        self._seq = nn.Sequential(*stages)

    def forward(self, x):
        return self._seq(x)


def prepared(network, dtype):
    """Weights large enough for every layer to matter, settled normalisations, all in numbers that `dtype` has."""
    network.eval()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
                module.bias.uniform_(-0.1, 0.2)
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.1)
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(tensor.to(dtype))
    return network


def save(file, network, size, dtype, wrapped=False, **options):
    x = torch.rand(1, 1, size, size).to(dtype).float()
    with torch.no_grad():
        y = network(x)
    stored = network.to(dtype)
    state = (nn.DataParallel(stored) if wrapped else stored).state_dict()
    torch.save({"epoch": 3, "state_dict": state, "input": x.to(dtype), "output": y}, file, **options)


torch.manual_seed(4)
authors = UNet(
    1,
    False,
    [f"dconv_down{i}" for i in (1, 2, 3, 4)],
    [f"dconv_up{i}" for i in (3, 2, 1)],
    "conv_last",
    1,
)
save("neural-ilt.pth", prepared(authors, torch.float16), 16, torch.float16)
lithobench = UNet(
    1, True, [f"conv{i}" for i in (1, 2, 3, 4)], [f"deconv{i}" for i in (4, 3, 2)], "deconv1", 3
)
old = {"_use_new_zipfile_serialization": False}
save(
    "lithobench-neural-ilt.pth",
    prepared(lithobench, torch.bfloat16),
    16,
    torch.bfloat16,
    wrapped=True,
    **old,
)
generator = Generator([2, 2, 3, 3, 4])
save("gan-opc.pth", prepared(generator, torch.float16), 32, torch.float16, **old)
