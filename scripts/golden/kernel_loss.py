"""Goldens of the kernel loss: values and gradients by float64 autograd over the textbook formula, for fp32 inputs.

python scripts/golden/kernel_loss.py      (torch, numpy; writes test/golden/kernel-loss/)
"""

import base64
import json
import pathlib

import numpy
import torch

torch.set_num_threads(1)
out = pathlib.Path(__file__).parents[2] / "test/golden/kernel-loss"
out.mkdir(parents=True, exist_ok=True)


def normalised(k):
    diagonal = k.diagonal()
    return k / torch.sqrt(diagonal[:, None] * diagonal[None, :])


def kernels(kind, x, y, gamma, c, sigma, sigma_teacher):
    s, t = x @ x.T, y @ y.T
    if kind == "polynomial":
        return normalised((gamma * s + c) ** 3), normalised((t / y.shape[1] + 1) ** 3)
    if kind == "cosine":
        return normalised(s), normalised(t)

    def gaussian(m, width):
        d = m.diagonal()
        return torch.exp(-(d[:, None] + d[None, :] - 2 * m) / (2 * width**2))

    return gaussian(s, sigma), gaussian(t, sigma_teacher)


def encode(a):
    return base64.b64encode(numpy.ascontiguousarray(a, dtype="<f4").tobytes()).decode()


def case(name, kind, n, d, dt, gamma=0.0032, c=0.191623, sigma=8.7, sigma_teacher=15.8, x_scale=0.5, twins=False, seed=0):
    g = torch.Generator().manual_seed(seed + n)
    x = torch.randn(n, d, generator=g) * x_scale + torch.randn(1, d, generator=g) * 0.4
    y = torch.randn(n, dt, generator=g) * 1.5 + torch.randn(1, dt, generator=g)
    if twins:
        x[1], y[1] = x[0], y[0]
    x64 = x.double().requires_grad_()
    scalars = [
        torch.tensor(float(torch.tensor(v, dtype=torch.float32)), dtype=torch.float64, requires_grad=True) for v in (gamma, c, sigma)
    ]
    k, t = kernels(kind, x64, y.double(), *scalars, sigma_teacher)
    loss = ((k - t) ** 2).mean()
    gradients = torch.autograd.grad(loss, [x64, *scalars], allow_unused=True)
    value = lambda v: 0.0 if v is None else v.item()
    return dict(
        name=name,
        kind=kind,
        n=n,
        d=d,
        dt=dt,
        gamma=gamma,
        c=c,
        sigma=sigma,
        sigmaTeacher=sigma_teacher,
        x=encode(x),
        y=encode(y),
        loss=loss.item(),
        dx=encode(gradients[0].numpy()),
        dgamma=value(gradients[1]),
        dc=value(gradients[2]),
        dsigma=value(gradients[3]),
    )


cases = [
    case("one image", "polynomial", 1, 16, 24),
    case("two images", "polynomial", 2, 16, 24),
    case("a small batch", "polynomial", 37, 16, 24),
    case("twin rows", "polynomial", 9, 16, 24, twins=True),
    case("c = 0", "polynomial", 9, 16, 24, c=0.0),
    case("a large gamma", "polynomial", 21, 16, 24, gamma=40.0, c=3.0),
    case("more than a tile", "polynomial", 301, 8, 12),
    case("more than two tiles", "polynomial", 523, 4, 4, gamma=0.05),
    case("gaussian", "gaussian", 37, 16, 24, sigma=2.5, sigma_teacher=9.0),
    case("gaussian, more than a tile", "gaussian", 301, 8, 12, sigma=1.5, sigma_teacher=6.0),
    case("gaussian, one image", "gaussian", 1, 16, 24),
    case("cosine", "cosine", 37, 16, 24),
    case("cosine, more than a tile", "cosine", 301, 8, 12),
    case("wide embeddings", "polynomial", 67, 133, 70),
]
(out / "cases.json").write_text(json.dumps(dict(torch=torch.__version__, cases=cases), indent=0))
