#!/usr/bin/env python3
"""The same adversarial autoencoder step as torch_aae.py in JAX, compiled as a whole.

    python jax_aae.py --steps 300 [--labels | --conv]

Needs jax and optax (CPU). Prints one line: jax_samples_per_s=N
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax


def init(rng, *sizes):
    weights = (0.01 * rng.standard_normal(shape) for shape in zip(sizes[:-1], sizes[1:]))
    return [(jnp.asarray(w, jnp.float32), jnp.zeros(w.shape[1])) for w in weights]


def mlp(layers, x):
    for weight, bias in layers[:-1]:
        x = jax.nn.relu(x @ weight + bias)
    weight, bias = layers[-1]
    return x @ weight + bias


def conv_networks(rng, code):
    """Parameters, and functions of (parameters, x): 4 × 4 convolutions, batch normalisation."""
    sizes = (3, 32, 64, 128, 256)

    def kernel(*shape):
        return jnp.asarray(0.02 * rng.standard_normal(shape), jnp.float32)

    def norm(n):
        return jnp.ones(n), jnp.zeros(n)

    encoder = [(kernel(4, 4, i, o), *norm(o)) for i, o in zip(sizes[:-1], sizes[1:])]
    decoder = [(kernel(4, 4, i, o), *norm(i)) for i, o in zip(sizes[:0:-1], sizes[-2::-1])]
    parameters = {
        "encoder": (encoder, init(rng, 256 * 16, code)),
        "decoder": (init(rng, code, 256 * 16), decoder, jnp.zeros(3)),
    }
    layout = ("NHWC", "HWIO", "NHWC")

    def normalised(x, scale, shift):
        mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
        return jax.nn.relu((x - mean) * jax.lax.rsqrt(var + 1e-5) * scale + shift)

    def encode(parameters, x):
        for weight, scale, shift in parameters[0]:
            x = jax.lax.conv_general_dilated(
                x, weight, (2, 2), [(1, 1), (1, 1)], dimension_numbers=layout
            )
            x = normalised(x, scale, shift)
        return mlp(parameters[1], x.reshape(len(x), -1))

    def decode(parameters, z):
        x = mlp(parameters[0], z).reshape(-1, 4, 4, 256)
        for weight, scale, shift in parameters[1]:
            x = normalised(x, scale, shift)
            x = jax.lax.conv_transpose(x, weight, (2, 2), "SAME", dimension_numbers=layout)
        return x + parameters[2]

    return parameters, encode, decode


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--steps", type=int, default=300)
    p.add_argument("--images", type=int, help="so many, in memory as bytes")
    p.add_argument("--labels", action="store_true")
    p.add_argument("--conv", action="store_true")
    a = p.parse_args()
    n, rng = 10 if a.labels else 0, np.random.default_rng(0)
    if a.conv:
        batch, code, shape = 64, 64, (64, 64, 3)
        nets, encode, decode = conv_networks(rng, code)
    else:
        batch, code, shape = 100, 2, (784,)
        encode = decode = mlp
        nets = {"encoder": init(rng, 784, 1000, 1000, 2), "decoder": init(rng, 2, 1000, 1000, 784)}
    nets["discriminator"] = init(rng, code + n, 500, 500, 1)
    adam = optax.chain(optax.clip(5.0), optax.adam(0.002, b1=0.1))
    states = {name: adam.init(layers) for name, layers in nets.items()}

    def reconstruction(encoder, decoder, x):
        z = encode(encoder, x)
        squares = ((jax.nn.sigmoid(decode(decoder, z)) - x) ** 2).reshape(len(x), -1).sum(1)
        return squares.mean(), (z, jnp.sqrt(squares).mean())

    def discriminate(discriminator, y, z):
        return mlp(discriminator, jnp.concatenate([y, z], 1))

    def step(nets, states, key, x):
        nets, states = dict(nets), dict(states)

        def update(name, gradient):
            change, states[name] = adam.update(gradient, states[name])
            nets[name] = optax.apply_updates(nets[name], change)

        # The prior is drawn in every step, as by the others.
        key, *keys = jax.random.split(key, 3)
        pz = jax.random.normal(keys[0], (batch, code))
        y = jax.nn.one_hot(jax.random.randint(keys[1], (batch,), 0, 10), n)
        (loss, (z, l2)), gradients = jax.value_and_grad(reconstruction, (0, 1), has_aux=True)(
            nets["encoder"], nets["decoder"], x
        )
        update("encoder", gradients[0])
        update("decoder", gradients[1])

        def told(discriminator):
            fake, real = (discriminate(discriminator, y, codes) for codes in (z, pz))
            right = ((fake < 0).mean() + (real > 0).mean()) / 2
            return jax.nn.softplus(fake).mean() + jax.nn.softplus(-real).mean(), right

        (told_loss, right), gradient = jax.value_and_grad(told, has_aux=True)(nets["discriminator"])
        update("discriminator", gradient)

        def fooled(encoder):
            logits = discriminate(nets["discriminator"], y, encode(encoder, x))
            return jax.nn.softplus(-logits).mean(), (logits > 0).mean()

        (fooling, share), gradient = jax.value_and_grad(fooled, has_aux=True)(nets["encoder"])
        update("encoder", gradient)
        return nets, states, key, jnp.stack([loss, l2, told_loss, right, fooling, share])

    step = jax.jit(step, donate_argnums=(0, 1))
    if a.images:
        images = rng.integers(256, size=(a.images, *shape), dtype=np.uint8)
    else:
        images = rng.random((50 * batch, *shape), np.float32)
    key, sums = jax.random.key(0), 0
    for i in range(20 + a.steps):
        if i == 20:
            jax.block_until_ready(nets)
            start = time.perf_counter()
        if i % 50 == 0:
            order = rng.permutation(len(images))
        j = i % 50
        x = images[order[j * batch : (j + 1) * batch]]
        x = x.astype(np.float32) / 255 if a.images else x
        nets, states, key, measured = step(nets, states, key, x)
        sums = sums + measured
    jax.block_until_ready((nets, sums))
    print(f"jax_samples_per_s={a.steps * batch / (time.perf_counter() - start):.0f}")


if __name__ == "__main__":
    main()
