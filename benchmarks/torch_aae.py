#!/usr/bin/env python3
"""The same adversarial autoencoder step in PyTorch, to time aae_mx against.

One step is the reference schedule on one batch: encoder + decoder on the squared
error, discriminator on q(z) = 0 and p(z) = 1, encoder on fooling the discriminator,
with the encoder run afresh for the third phase. 784-1000-1000-2, 2-1000-1000-784,
2(+labels)-500-500-1, Adam (lr 0.002, beta1 0.1), gradients clipped to [-5, 5].

    python torch_aae.py --steps 300 [--labels] [--no-fused]

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


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--steps", type=int, default=300)
    p.add_argument("--batch-size", type=int, default=100)
    p.add_argument("--labels", action="store_true")
    p.add_argument("--no-fused", action="store_true")
    a = p.parse_args()
    b, n = a.batch_size, 10 if a.labels else 0
    torch.manual_seed(0)
    enc, dec, dis = (
        mlp(784, 1000, 1000, 2),
        mlp(2, 1000, 1000, 784, last=nn.Sigmoid()),
        mlp(2 + n, 500, 500, 1),
    )
    adam = dict(lr=0.002, betas=(0.1, 0.999), fused=not a.no_fused)
    opt = {m: torch.optim.Adam(m.parameters(), **adam) for m in (enc, dec, dis)}
    bce = F.binary_cross_entropy_with_logits
    ones, zeros = torch.ones(b, 1), torch.zeros(b, 1)
    data = torch.rand(50 * b, 784)

    def update(*nets):
        for m in nets:
            for q in m.parameters():
                q.grad.clamp_(-5, 5)
            opt[m].step()
            m.zero_grad()

    def joined(y, z):
        return torch.cat([y, z], 1) if n else z

    def step(x):
        y = F.one_hot(torch.randint(0, 10, (b,)), 10).float()
        z = enc(x)
        ((dec(z) - x) ** 2).sum(1).mean().backward()
        update(enc, dec)
        z, pz = z.detach(), torch.randn(b, 2)
        (bce(dis(joined(y, z)), zeros) + bce(dis(joined(y, pz)), ones)).backward()
        update(dis)
        bce(dis(joined(y, enc(x))), ones).backward()
        update(enc)
        dis.zero_grad()

    def run(k):
        t = time.perf_counter()
        for i in range(k):
            j = i % 50
            step(data[j * b : (j + 1) * b])
        return time.perf_counter() - t

    run(20)
    print(f"torch_samples_per_s={a.steps * b / run(a.steps):.0f}")


if __name__ == "__main__":
    main()
