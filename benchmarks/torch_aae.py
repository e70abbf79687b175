#!/usr/bin/env python3
"""The same adversarial autoencoder step in PyTorch, to time aae_mx against.

One step is the reference schedule on one batch: encoder + decoder on the squared
error, discriminator on q(z) = 0 and p(z) = 1, encoder on fooling the discriminator,
with the encoder run afresh for the third phase. 784-1000-1000-2, 2-1000-1000-784,
2(+labels)-500-500-1, Adam (lr 0.002, beta1 0.1), gradients clipped to [-5, 5].

With --conv: the convolutional networks instead, 64 × 64 pixels in colour, batch 64, codes of
64: convolutions 4 × 4 of 32, 64, 128 and 256 filters with batch normalisation, and their
transposes.

    python torch_aae.py --steps 300 [--labels | --conv] [--compile] [--bf16] [--channels-last]

--compile: each phase, forwards and backwards, through torch.compile. --bf16: products in bfloat16
(torch.autocast), losses in float32. --channels-last: images and weights of convolutions in memory
with the channels last, as oneDNN likes them.

Needs torch (CPU). Prints one line: torch_samples_per_s=N
"""

import argparse
import time

import torch
import torch.nn.functional as F
from torch import nn


def mlp(*sizes, last=None):
    layers = []
    for i, o in zip(sizes[:-2], sizes[1:-1]):
        layers += [nn.Linear(i, o), nn.ReLU()]
    layers.append(nn.Linear(sizes[-2], sizes[-1]))
    return nn.Sequential(*layers, *([last] if last else []))


def conv_networks(code):
    sizes = (3, 32, 64, 128, 256)
    encoder, decoder = [], [nn.Linear(code, 256 * 16), nn.Unflatten(1, (256, 4, 4))]
    for i, o in zip(sizes[:-1], sizes[1:]):
        encoder += [nn.Conv2d(i, o, 4, 2, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU()]
    for i, o in zip(sizes[:0:-1], sizes[-2::-1]):
        decoder += [nn.BatchNorm2d(i), nn.ReLU(), nn.ConvTranspose2d(i, o, 4, 2, 1, bias=o == 3)]
    encoder += [nn.Flatten(), nn.Linear(256 * 16, code)]
    return nn.Sequential(*encoder), nn.Sequential(*decoder, nn.Sigmoid())


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--steps", type=int, default=300)
    p.add_argument("--batch-size", type=int)
    p.add_argument("--images", type=int, help="so many, in memory as bytes")
    p.add_argument("--labels", action="store_true")
    p.add_argument("--conv", action="store_true")
    p.add_argument("--compile", action="store_true")
    p.add_argument("--bf16", action="store_true")
    p.add_argument("--channels-last", action="store_true")
    a = p.parse_args()
    b, n = a.batch_size or (64 if a.conv else 100), 10 if a.labels else 0
    code, shape = (64, (3, 64, 64)) if a.conv else (2, (784,))
    torch.manual_seed(0)
    if a.conv:
        enc, dec = conv_networks(code)
    else:
        enc, dec = mlp(784, 1000, 1000, 2), mlp(2, 1000, 1000, 784, last=nn.Sigmoid())
    dis = mlp(code + n, 500, 500, 1)
    layout = torch.channels_last if a.channels_last else torch.contiguous_format
    if a.conv:
        enc, dec = (m.to(memory_format=layout) for m in (enc, dec))
    opt = {
        m: torch.optim.Adam(m.parameters(), lr=0.002, betas=(0.1, 0.999), fused=True)
        for m in (enc, dec, dis)
    }
    gradients = {m: list(m.parameters()) for m in (enc, dec, dis)}
    bce = F.binary_cross_entropy_with_logits
    ones, zeros = torch.ones(b, 1), torch.zeros(b, 1)
    data = torch.rand(50 * b, *shape)
    if a.images:
        data = torch.randint(0, 256, (a.images, *shape), dtype=torch.uint8)

    def update(*nets):
        for m in nets:
            clipped = [q.grad for q in gradients[m]]
            torch._foreach_clamp_min_(clipped, -5)
            torch._foreach_clamp_max_(clipped, 5)
            opt[m].step()
            m.zero_grad()

    def joined(y, z):
        return torch.cat([y, z], 1) if n else z

    def reconstruction(x):
        z = enc(x)
        squares = ((dec(z).float() - x) ** 2).flatten(1).sum(1)
        return squares.mean(), z.float().detach(), squares.detach().sqrt().mean()

    def discrimination(z, pz, y):
        fake, real = dis(joined(y, z)).float(), dis(joined(y, pz)).float()
        right = ((fake < 0).float().mean() + (real > 0).float().mean()) / 2
        return bce(fake, zeros) + bce(real, ones), right

    def generation(x, y):
        logits = dis(joined(y, enc(x))).float()
        return bce(logits, ones), (logits > 0).float().mean()

    if a.compile:
        reconstruction, discrimination, generation = map(
            torch.compile, (reconstruction, discrimination, generation)
        )
    products = torch.autocast("cpu", torch.bfloat16, enabled=a.bf16)

    def step(x):
        y = F.one_hot(torch.randint(0, 10, (b,)), 10).float() if n else None
        with products:
            loss, z, l2 = reconstruction(x)
        loss.backward()
        update(enc, dec)
        with products:
            told, right = discrimination(z, torch.randn(b, code), y)
        told.backward()
        update(dis)
        # Its weights need no gradient here.
        dis.requires_grad_(False)
        with products:
            fooling, fooled = generation(x, y)
        fooling.backward()
        dis.requires_grad_(True)
        update(enc)
        return torch.stack([m.detach() for m in (loss, l2, told, right, fooling, fooled)])

    def run(k):
        t = time.perf_counter()
        order, sums = torch.randperm(len(data)), 0
        for i in range(k):
            j = i % 50
            batch = data[order[j * b : (j + 1) * b]]
            batch = batch.float() / 255 if a.images else batch
            sums = sums + step(batch.contiguous(memory_format=layout) if a.conv else batch)
        return time.perf_counter() - t

    run(3 if a.conv else 30)
    print(f"torch_samples_per_s={a.steps * b / run(a.steps):.0f}")


if __name__ == "__main__":
    main()
