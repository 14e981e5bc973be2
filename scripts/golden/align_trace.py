"""Goldens of whole training runs: losses of the published loop in eager PyTorch, float64, on the demo's models and a few low-frequency
images.

python scripts/golden/align_trace.py      (torch, transformers, safetensors; writes test/golden/align/)
"""

import copy
import json
import pathlib

import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import save_file

torch.set_num_threads(1)
root = pathlib.Path(__file__).parents[2]
out = root / "test/golden/align"
out.mkdir(parents=True, exist_ok=True)
steps, batch, size = 6, 6, 64
mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(1, 3, 1, 1)
std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(1, 3, 1, 1)

torch.manual_seed(0)
pixels = (F.interpolate(torch.rand(steps * batch, 3, 6, 6), size=(size, size), mode="bicubic").clamp(0, 1) * 255).round().to(torch.uint8)
save_file({"pixels": pixels.contiguous()}, out / "pixels.safetensors")

base = transformers.CLIPModel.from_pretrained(root / "configs/demo/clip", dtype=torch.float64).eval()
teacher = transformers.AutoModel.from_pretrained(root / "configs/demo/dinov2", dtype=torch.float64).eval()


def normalised(k):
    diagonal = k.diagonal()
    return k / torch.sqrt(diagonal[:, None] * diagonal[None, :])


def gaussian(x, sigma):
    s = x @ x.T
    d = s.diagonal()
    return torch.exp(-(d[:, None] + d[None, :] - 2 * s) / (2 * sigma**2))


def run(name, kernel, lr, w, trainable, weight_decay=1e-4, gamma=0.0032, coef0=0.191623, sigma=8.7, sigma_teacher=15.8, eps=1e-8):
    student, original = copy.deepcopy(base), base
    embed = lambda m, x: m.visual_projection(m.vision_model(pixel_values=x).pooler_output)
    g, c, s = (torch.tensor(v, requires_grad=trainable, dtype=torch.float64) for v in (gamma, coef0, sigma))
    weights = [*student.vision_model.parameters(), *student.visual_projection.parameters()]
    own = {"polynomial": [g, c], "gaussian": [s], "cosine": []}[kernel] if trainable else []
    optimizer = torch.optim.AdamW([dict(params=weights, weight_decay=weight_decay), dict(params=own, weight_decay=0.0)], lr=lr, eps=eps)
    trace = []
    for i in range(steps):
        x = pixels[i * batch : (i + 1) * batch].double() / 255
        x = (x - mean) / std
        with torch.no_grad():
            f0, t = embed(original, x), teacher(pixel_values=x).last_hidden_state[:, 0]
        f = embed(student, x)
        if kernel == "polynomial":
            k, kt = normalised((g * (f @ f.T) + c) ** 3), normalised((t @ t.T / t.shape[1] + 1) ** 3)
        elif kernel == "gaussian":
            k, kt = gaussian(f, s), gaussian(t, sigma_teacher)
        else:
            k, kt = normalised(f @ f.T), normalised(t @ t.T)
        kernel_loss, anchor_loss = ((k - kt) ** 2).mean(), ((f - f0) ** 2).sum(1).mean()
        loss = w * kernel_loss + anchor_loss
        trace.append(
            dict(
                loss=loss.item(),
                kernel_loss=kernel_loss.item(),
                anchor_loss=anchor_loss.item(),
                cosine_to_original=F.cosine_similarity(f, f0).mean().item(),
                gamma=g.item(),
                c=c.item(),
                sigma=s.item(),
            )
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    options = dict(
        kernel=kernel,
        lr=lr,
        w=w,
        kernelParams="trainable" if trainable else "fixed",
        weightDecay=weight_decay,
        gamma=gamma,
        coef0=coef0,
        sigma=sigma,
        sigmaTeacher=sigma_teacher,
        eps=eps,
    )
    return dict(name=name, options=options, trace=trace)


runs = [
    run("the published recipe", "polynomial", 1e-5, 0.5, False),
    run("trained gamma and c", "polynomial", 1e-4, 100.0, True),
    run("a heavy decay", "polynomial", 1e-3, 10.0, False, weight_decay=0.5),
    # AdamW's first update is lr g / (|g| + eps). This kernel leaves many gradients as small as rounding, which an eps of 1e-8 would turn
    # into differences.
    run("gaussian, trained sigma", "gaussian", 1e-4, 1e4, True, eps=1e-4),
    run("cosine", "cosine", 1e-4, 100.0, False),
]
versions = dict(torch=torch.__version__, transformers=transformers.__version__)
(out / "traces.json").write_text(json.dumps(dict(versions=versions, batch=batch, steps=steps, runs=runs), indent=1))
