"""Goldens of CLIP's text tower: embeddings of ids by transformers and open_clip, of the tiny models of encoders.py and of two more.

  python scripts/golden/clip_texts.py      (torch, transformers, open_clip, safetensors; writes test/golden/clip-texts/)

The two have what those lack: several blocks, heads that no width shows, an activation and an end token of their own, and open_clip's names
for a text tower that is a module of its own.
"""

import base64
import json
import math
import pathlib
import shutil

import open_clip
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPModel

torch.set_num_threads(1)
golden = pathlib.Path(__file__).parents[2] / "test/golden"
out = golden / "clip-texts"
shutil.rmtree(out, ignore_errors=True)
out.mkdir(parents=True)
cases = []

# Of a vocabulary of 40 whose last two begin and end a text: short and full, padded with 0, with the end, and with anything.
IDS = [
    [38, 3, 39, 0, 0, 0, 0],
    [38, 5, 9, 12, 7, 2, 39],
    [38, 39, 39, 39, 39, 39, 39],
    [38, 39, 0, 0, 0, 0, 0],
    [38, 11, 4, 39, 39, 39, 39],
    [38, 11, 4, 39, 21, 22, 23],
    [38, 17, 17, 17, 17, 39, 0],
]


def randomise(model, seed):
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.dim() >= 2:
                p.copy_(torch.randn(p.shape, generator=g) * (0.7 / p.shape[-1] ** 0.5 if p.dim() == 2 else 0.1))
            else:
                one = ("norm" in name or "ln_" in name or "layrnorm" in name) and "bias" not in name
                p.copy_((1.0 if one else 0.0) + 0.2 * torch.randn(p.shape, generator=g))
            # Half precision holds every number, so that a file may be stored in it.
            p.copy_(p.half().float())
    return model.eval()


def encoded(t):
    return base64.b64encode(t.contiguous().numpy().tobytes()).decode()


def add(ref, embed, logit_scale, rows=IDS, **options):
    ids = torch.tensor(rows)
    with torch.no_grad():
        expected = embed(ids).float()
    cases.append(dict(ref=ref, ids=rows, expected=encoded(expected), logitScale=math.exp(logit_scale.item()), **options))


def hf_embed(model):
    return lambda ids: model.text_projection(model.text_model(input_ids=ids).pooler_output)


for case in ("hf-b32", "hf-l14", "hf-bin"):
    # hf-bin holds what hf-b32 does.
    model = CLIPModel.from_pretrained(golden / "encoders" / case.replace("bin", "b32"), dtype=torch.float32).eval()
    add(f"encoders/{case}", hf_embed(model), model.logit_scale)

configs = dict(
    embed_dim=16,
    vision_cfg=dict(image_size=32, layers=2, width=64, patch_size=8),
    text_cfg=dict(context_length=7, vocab_size=40, width=64, heads=1, layers=1),
)
for case, quick in {"open-clip": False, "open-clip-quickgelu": True}.items():
    model = open_clip.model.CLIP(**configs, quick_gelu=quick).eval()
    state = load_file(golden / f"encoders/{case}/open_clip_model.safetensors")
    model.load_state_dict({k: v.float() for k, v in state.items()})
    add(f"encoders/{case}", model.encode_text, model.logit_scale)
add("encoders/openai/ViT-tiny.pt", model.encode_text, model.logit_scale)
add("encoders/open-clip-checkpoint/epoch_3.pt", model.encode_text, model.logit_scale, activation="quick_gelu")

vision = dict(
    hidden_size=32,
    intermediate_size=64,
    num_attention_heads=2,
    num_hidden_layers=1,
    patch_size=8,
    image_size=16,
    hidden_act="quick_gelu",
)
text = dict(
    hidden_size=48,
    intermediate_size=96,
    num_attention_heads=3,
    num_hidden_layers=3,
    vocab_size=40,
    max_position_embeddings=7,
    hidden_act="gelu",
    bos_token_id=38,
)
# 2: what configs said before 2023, where the highest id is the end. 30: a token that is not the highest.
for case, end in {"hf-former-end": 2, "hf-other-end": 30}.items():
    model = CLIPModel(CLIPConfig(vision_config=vision, text_config=dict(text, eos_token_id=end), projection_dim=16))
    randomise(model, 20).half().save_pretrained(out / case)
    rows = IDS if end == 2 else [[min(i, 37) if i != 39 else 30 for i in row] for row in IDS] + [[38, 39, 30, 39, 30, 1, 2]]
    add(f"clip-texts/{case}", hf_embed(model.float()), model.logit_scale, rows)

configs = dict(
    embed_dim=16,
    vision_cfg=dict(image_size=16, layers=1, width=32, head_width=16, patch_size=8, mlp_ratio=2.0),
    text_cfg=dict(context_length=7, vocab_size=40, width=48, heads=3, layers=3, mlp_ratio=2.0),
)
model = randomise(open_clip.model.CustomTextCLIP(**configs, quick_gelu=False), 21)
path = out / "open-clip-custom-text"
path.mkdir()
save_file({k: v.half() for k, v in model.state_dict().items()}, path / "open_clip_model.safetensors")
statistics = dict(mean=[0.48145466, 0.4578275, 0.40821073], std=[0.26862954, 0.26130258, 0.27577711])
model_cfg = dict(configs, quick_gelu=False, custom_text=True)
(path / "open_clip_config.json").write_text(json.dumps(dict(model_cfg=model_cfg, preprocess_cfg=statistics)))
add("clip-texts/open-clip-custom-text", model.encode_text, model.logit_scale)

versions = dict(torch=torch.__version__, transformers=transformers.__version__, open_clip=open_clip.__version__)
(out / "manifest.json").write_text(json.dumps(dict(versions=versions, cases=cases), indent=0))
