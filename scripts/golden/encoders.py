"""Goldens of the encoders: tiny models with seeded random weights in every layout that kuea reads, and their embeddings by somebody else's
code.

  python scripts/golden/encoders.py      (torch, transformers, open_clip, safetensors; writes test/golden/encoders/)

Weights are larger than usual initialisations, biases and norms are not trivial, so that a wrong map, scale or activation shows.
"""

import base64
import collections
import json
import pathlib
import shutil

import open_clip
import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import load_file, save_file
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
)

torch.set_num_threads(1)
out = pathlib.Path(__file__).parents[2] / "test/golden/encoders"
shutil.rmtree(out, ignore_errors=True)
clip_statistics = ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])
imagenet_statistics = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
cases = []


def randomise(model, seed):
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.dim() >= 2:
                p.copy_(torch.randn(p.shape, generator=g) * (0.7 / p.shape[-1] ** 0.5 if p.dim() == 2 else 0.1))
            else:
                one = "norm" in name or "ln_" in name or "layrnorm" in name or "lambda" in name or "gamma" in name
                base = 1.0 if one and "bias" not in name else 0.0
                p.copy_(base + 0.2 * torch.randn(p.shape, generator=g))
            # Half precision holds every number, so that a file may be stored in it.
            p.copy_(p.half().float())
    return model.eval()


def pixels(size, seed):
    g = torch.Generator().manual_seed(100 + seed)
    return (F.interpolate(torch.rand(2, 3, 5, 5, generator=g), size=(size, size), mode="bicubic").clamp(0, 1) * 255).round().to(torch.uint8)


def encoded(t):
    return base64.b64encode(t.contiguous().numpy().tobytes()).decode()


def add(case, family, ref, size, embed, statistics, **options):
    px = pixels(size, len(cases))
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in statistics)
    with torch.no_grad():
        expected = embed((px.float() / 255 - mean) / std)
    cases.append(
        dict(
            case=case,
            family=family,
            ref=f"{case}/{ref}" if ref else case,
            size=size,
            pixels=encoded(px),
            expected=encoded(expected.float()),
            dim=expected.shape[1],
            **options,
        )
    )


def folder(case):
    path = out / case
    path.mkdir(parents=True)
    return path


def hf_clip(image, patch, width=64, embed=16, act="quick_gelu", seed=0):
    common = dict(hidden_act=act, projection_dim=embed)
    return randomise(
        CLIPModel(
            CLIPConfig(
                vision_config=dict(
                    hidden_size=width,
                    intermediate_size=4 * width,
                    num_attention_heads=width // 64,
                    patch_size=patch,
                    image_size=image,
                    num_hidden_layers=2,
                    **common,
                ),
                text_config=dict(
                    hidden_size=64,
                    intermediate_size=128,
                    num_attention_heads=1,
                    vocab_size=40,
                    max_position_embeddings=7,
                    bos_token_id=38,
                    eos_token_id=39,
                    num_hidden_layers=1,
                    **common,
                ),
                projection_dim=embed,
            )
        ),
        seed,
    )


def hf_embed(model):
    return lambda x: model.visual_projection(model.vision_model(pixel_values=x).pooler_output)


def save_hf(model, path, **kwargs):
    model.half().save_pretrained(path, **kwargs)
    model.float()


models = {}
# Shapes of ViT-B/32 (few tokens, a wide patch), ViT-L/14 (width 128, two heads) and 336 px (a larger grid).
for case, arguments in {
    "hf-b32": dict(image=64, patch=32),
    "hf-l14": dict(image=56, patch=14, width=128, act="gelu", seed=1),
    "hf-336": dict(image=84, patch=14, seed=2),
}.items():
    models[case] = model = hf_clip(**arguments)
    save_hf(model, folder(case))
    add(case, "clip", "", arguments["image"], hf_embed(model), clip_statistics)

# The same tensors as torch.save writes them, and as it did before 1.6.
for case, zipped in {"hf-bin": True, "hf-legacy": False}.items():
    path = folder(case)
    torch.save(load_file(out / "hf-b32/model.safetensors"), path / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    shutil.copy(out / "hf-b32/config.json", path)
    add(case, "clip", "", 64, hf_embed(models["hf-b32"]), clip_statistics)

vision = randomise(
    CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=64,
            intermediate_size=256,
            num_attention_heads=1,
            num_hidden_layers=2,
            patch_size=8,
            image_size=32,
            hidden_act="quick_gelu",
            projection_dim=16,
        )
    ),
    4,
)
save_hf(vision, folder("hf-vision-only"))
add("hf-vision-only", "clip", "", 32, lambda x: vision(pixel_values=x).image_embeds, clip_statistics)

# open_clip: its own class, its own names, its own config.
configs = dict(
    embed_dim=16,
    vision_cfg=dict(image_size=32, layers=2, width=64, patch_size=8),
    text_cfg=dict(context_length=7, vocab_size=40, width=64, heads=1, layers=1),
)
for case, quick in {"open-clip": False, "open-clip-quickgelu": True}.items():
    clip = randomise(open_clip.model.CLIP(**configs, quick_gelu=quick), 5 + quick)
    path = folder(case)
    save_file({k: v.half() if v.dim() else v for k, v in clip.state_dict().items()}, path / "open_clip_model.safetensors")
    (path / "open_clip_config.json").write_text(
        json.dumps(dict(model_cfg=dict(configs, quick_gelu=quick), preprocess_cfg=dict(mean=clip_statistics[0], std=clip_statistics[1])))
    )
    add(case, "clip", "", 32, clip.encode_image, clip_statistics)

# The published code saves the tower alone, as a state dict; training checkpoints wrap one.
path = folder("visual")
torch.save({k: v.half() for k, v in clip.visual.state_dict().items()}, path / "final.pt")
add("visual", "clip", "final.pt", 32, clip.encode_image, clip_statistics)
path = folder("open-clip-checkpoint")
torch.save(dict(epoch=3, name="x", state_dict={f"module.{k}": v.half() for k, v in clip.state_dict().items()}), path / "epoch_3.pt")
add("open-clip-checkpoint", "clip", "epoch_3.pt", 32, clip.encode_image, clip_statistics, activation="quick_gelu")


# OpenAI's files are TorchScript archives of a module tree with these names, in half precision.
class Bag(torch.nn.Module):
    def forward(self, x):
        return x


def tree(state):
    top = Bag()
    for name, value in state.items():
        *parents, leaf = name.split(".")
        module = top
        for parent in parents:
            if not hasattr(module, parent):
                module.add_module(parent, Bag())
            module = getattr(module, parent)
        module.register_parameter(leaf, torch.nn.Parameter(value, requires_grad=False))
    for name, value in dict(input_resolution=32, context_length=7, vocab_size=40).items():
        top.register_buffer(name, torch.tensor(value))
    return top


path = folder("openai")
state = collections.OrderedDict((k, v.half()) for k, v in clip.state_dict().items())
torch.jit.save(torch.jit.script(tree(state)), str(path / "ViT-tiny.pt"))
add("openai", "clip", "ViT-tiny.pt", 32, clip.encode_image, clip_statistics)

# DINOv2: Hugging Face, without and with registers, plain and SwiGLU, at the trained size and at others.
shape = dict(hidden_size=64, num_hidden_layers=2, num_attention_heads=1, patch_size=8, image_size=48, layerscale_value=1.0)
dino = randomise(Dinov2Model(Dinov2Config(**shape)), 10)
save_hf(dino, folder("dinov2"))
cls = lambda model: lambda x: model(pixel_values=x).last_hidden_state[:, 0]
add("dinov2", "dinov2", "", 48, cls(dino), imagenet_statistics)
add("dinov2", "dinov2", "", 32, cls(dino), imagenet_statistics)
registers = randomise(Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**shape, num_register_tokens=4)), 11)
save_hf(registers, folder("dinov2-registers"))
add("dinov2-registers", "dinov2", "", 32, cls(registers), imagenet_statistics)
add("dinov2-registers", "dinov2", "", 64, cls(registers), imagenet_statistics)
swiglu = randomise(Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**shape, num_register_tokens=2, use_swiglu_ffn=True)), 12)
save_hf(swiglu, folder("dinov2-swiglu"))
add("dinov2-swiglu", "dinov2", "", 40, cls(swiglu), imagenet_statistics)


def hub_state(case):
    """The tensors of a Hugging Face folder under the hub's names."""
    s = load_file(out / case / "model.safetensors")
    state = {
        "cls_token": s["embeddings.cls_token"],
        "mask_token": s["embeddings.mask_token"],
        "pos_embed": s["embeddings.position_embeddings"],
    }
    if "embeddings.register_tokens" in s:
        state["register_tokens"] = s["embeddings.register_tokens"]
    for kind in ("weight", "bias"):
        state[f"patch_embed.proj.{kind}"] = s[f"embeddings.patch_embeddings.projection.{kind}"]
        state[f"norm.{kind}"] = s[f"layernorm.{kind}"]
        for i in range(2):
            a, b = f"encoder.layer.{i}.", f"blocks.{i}."
            state[f"{b}attn.qkv.{kind}"] = torch.cat([s[f"{a}attention.attention.{p}.{kind}"] for p in ("query", "key", "value")])
            state[f"{b}attn.proj.{kind}"] = s[f"{a}attention.output.dense.{kind}"]
            for name in ("norm1", "norm2", "mlp.fc1", "mlp.fc2"):
                state[f"{b}{name}.{kind}"] = s[f"{a}{name}.{kind}"]
            state[f"{b}ls1.gamma"], state[f"{b}ls2.gamma"] = s[f"{a}layer_scale1.lambda1"], s[f"{a}layer_scale2.lambda1"]
    return state


# The hub resamples pos_embed by a factor with an offset of 0.1; Hugging Face's model is given the result.
torch.save({k: v.half() for k, v in hub_state("dinov2").items()}, folder("dinov2-hub") / "dinov2_tiny.pth")
grid = 32 // 8
patches = dino.embeddings.position_embeddings.data[:, 1:].view(1, 6, 6, 64).permute(0, 3, 1, 2)
scale = (grid + 0.1) / 6
resampled = F.interpolate(patches, scale_factor=(scale, scale), mode="bicubic").permute(0, 2, 3, 1).reshape(1, grid * grid, 64)
hub = Dinov2Model(Dinov2Config(**{**shape, "image_size": 32})).eval()
hub.load_state_dict(
    {**dino.state_dict(), "embeddings.position_embeddings": torch.cat([dino.embeddings.position_embeddings.data[:, :1], resampled], 1)}
)
add("dinov2-hub", "dinov2", "dinov2_tiny.pth", 32, cls(hub), imagenet_statistics)
# A training checkpoint: the teacher's backbone, its blocks in chunks.
chunked = {
    "teacher.backbone." + k.replace("blocks.0.", "blocks.0.0.").replace("blocks.1.", "blocks.1.1."): v.half()
    for k, v in hub_state("dinov2-registers").items()
}
torch.save(dict(model=chunked), folder("dinov2-hub-registers") / "teacher_checkpoint.pth")
add("dinov2-hub-registers", "dinov2", "teacher_checkpoint.pth", 32, cls(registers), imagenet_statistics)

versions = dict(torch=torch.__version__, transformers=transformers.__version__, open_clip=open_clip.__version__)
(out / "manifest.json").write_text(json.dumps(dict(versions=versions, cases=cases), indent=0))
