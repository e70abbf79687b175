#!/usr/bin/env python3
"""The same adversarial autoencoder step as torch_aae.py in JAX, compiled as a whole.

    python jax_aae.py --steps 300 [--labels]

Needs jax and optax (CPU). Prints one line: jax_samples_per_s=N
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

BATCH = 100


def init(rng, *sizes):
    weights = (0.01 * rng.standard_normal(shape) for shape in zip(sizes[:-1], sizes[1:]))
    return [(jnp.asarray(w, jnp.float32), jnp.zeros(w.shape[1])) for w in weights]


def mlp(layers, x):
    for weight, bias in layers[:-1]:
        x = jax.nn.relu(x @ weight + bias)
    weight, bias = layers[-1]
    return x @ weight + bias


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--steps", type=int, default=300)
    p.add_argument("--labels", action="store_true")
    a = p.parse_args()
    n, rng = 10 if a.labels else 0, np.random.default_rng(0)
    nets = {
        "encoder": init(rng, 784, 1000, 1000, 2),
        "decoder": init(rng, 2, 1000, 1000, 784),
        "discriminator": init(rng, 2 + n, 500, 500, 1),
    }
    adam = optax.chain(optax.clip(5.0), optax.adam(0.002, b1=0.1))
    states = {name: adam.init(layers) for name, layers in nets.items()}

    def reconstruction(encoder, decoder, x):
        z = mlp(encoder, x)
        return ((jax.nn.sigmoid(mlp(decoder, z)) - x) ** 2).sum(1).mean(), z

    def discriminate(discriminator, y, z):
        return mlp(discriminator, jnp.concatenate([y, z], 1))

    def step(nets, states, key, x):
        nets, states = dict(nets), dict(states)

        def update(name, gradient):
            change, states[name] = adam.update(gradient, states[name])
            nets[name] = optax.apply_updates(nets[name], change)

        # The prior is drawn in every step, as by the others.
        key, *keys = jax.random.split(key, 3)
        pz = jax.random.normal(keys[0], (BATCH, 2))
        y = jax.nn.one_hot(jax.random.randint(keys[1], (BATCH,), 0, 10), n)
        gradients, z = jax.grad(reconstruction, (0, 1), has_aux=True)(
            nets["encoder"], nets["decoder"], x
        )
        update("encoder", gradients[0])
        update("decoder", gradients[1])

        def told(discriminator):
            fake, real = (discriminate(discriminator, y, codes) for codes in (z, pz))
            return jax.nn.softplus(fake).mean() + jax.nn.softplus(-real).mean()

        update("discriminator", jax.grad(told)(nets["discriminator"]))

        def fooled(encoder):
            logits = discriminate(nets["discriminator"], y, mlp(encoder, x))
            return jax.nn.softplus(-logits).mean()

        update("encoder", jax.grad(fooled)(nets["encoder"]))
        return nets, states, key

    step = jax.jit(step, donate_argnums=(0, 1))
    data = [jnp.asarray(rng.random((BATCH, 784)), jnp.float32) for _ in range(50)]
    key = jax.random.key(0)
    for i in range(20 + a.steps):
        if i == 20:
            jax.block_until_ready(nets)
            start = time.perf_counter()
        nets, states, key = step(nets, states, key, data[i % 50])
    jax.block_until_ready(nets)
    print(f"jax_samples_per_s={a.steps * BATCH / (time.perf_counter() - start):.0f}")


if __name__ == "__main__":
    main()
