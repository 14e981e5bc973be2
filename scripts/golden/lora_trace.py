"""Goldens of whole fine-tuning runs: losses of transformers' LLaVA with peft's LoRA in float64, and what was trained.

  python scripts/golden/lora_trace.py      (torch, transformers, peft, safetensors; writes test/golden/lora-trace/)

The samples have answers of different lengths, so that what a loss is the mean of makes a difference.
"""

import json, pathlib, shutil
import torch
import torch.nn.functional as F
import transformers, peft
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    get_constant_schedule,
    get_cosine_schedule_with_warmup,
)

torch.set_num_threads(1)
out = pathlib.Path(__file__).parents[2] / "test/golden/lora-trace"
shutil.rmtree(out, ignore_errors=True)
out.mkdir(parents=True)
steps, batch, accum, length, size, patch, vocabulary = 6, 2, 2, 20, 28, 14, 96
image = vocabulary - 1
patches = (size // patch) ** 2

torch.manual_seed(0)
config = LlavaConfig(
    vision_config=CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=2,
        patch_size=patch,
        image_size=size,
        projection_dim=16,
        hidden_act="quick_gelu",
    ),
    text_config=LlamaConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        vocab_size=vocabulary,
        max_position_embeddings=64,
        rms_norm_eps=1e-5,
        initializer_range=0.1,
    ),
    image_token_index=image,
    vision_feature_layer=-2,
    vision_feature_select_strategy="default",
)
base = LlavaForConditionalGeneration(config)
base.save_pretrained(out / "model")
targets = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
adapted = get_peft_model(base, LoraConfig(r=4, lora_alpha=8, lora_dropout=0.0, bias="none", target_modules=targets))
# A B that is not 0: gradients of A from the first update on.
for name, q in adapted.named_parameters():
    if "lora_B" in name:
        torch.nn.init.normal_(q, std=0.05)
adapted.save_pretrained(out / "adapter0")
(out / "adapter0" / "README.md").unlink()
adapted = adapted.double().train()
start = {k: v.clone() for k, v in adapted.state_dict().items()}

n = steps * batch * accum
ids = torch.randint(3, vocabulary - 1, (n, length))
ids[:, 0] = 1
ids[:, 3 : 3 + patches] = image
labels = ids.clone()
for i in range(n):
    answer = 1 + int(torch.randint(8, ()))
    labels[i, : length - answer] = -100
pixels = torch.randn(n, 3, size, size)
save_file(dict(input_ids=ids, labels=labels, pixel_values=pixels), out / "batches.safetensors")


def sums(rows):
    """Of each sample: the sum of its labels' cross-entropies, and their number."""
    logits = adapted(
        input_ids=ids[rows], attention_mask=torch.ones(len(rows), length, dtype=torch.long), pixel_values=pixels[rows].double()
    ).logits[:, :-1]
    losses = F.cross_entropy(logits.transpose(1, 2), labels[rows][:, 1:], ignore_index=-100, reduction="none")
    return losses.sum(1), (labels[rows][:, 1:] != -100).sum(1)


def run(name, normalisation, lr=1e-3, projector_lr=None, weight_decay=0.0, warmup=None, clip=0.0):
    adapted.load_state_dict(start)
    lora = [q for k, q in adapted.named_parameters() if "lora_" in k]
    projector = [(k, q) for k, q in adapted.named_parameters() if "multi_modal_projector" in k]
    for _, q in projector:
        q.requires_grad_(projector_lr is not None)
    groups = [dict(params=lora, lr=lr, weight_decay=weight_decay)]
    if projector_lr is not None:
        groups += [
            dict(
                params=[q for k, q in projector if k.endswith(end)], lr=projector_lr, weight_decay=weight_decay if end == "weight" else 0.0
            )
            for end in ("weight", "bias")
        ]
    optimizer = torch.optim.AdamW(groups)
    schedule = get_constant_schedule(optimizer) if warmup is None else get_cosine_schedule_with_warmup(optimizer, warmup, steps)
    trace = []
    for s in range(steps):
        optimizer.zero_grad()
        first = s * batch * accum
        micro = [list(range(first + k * batch, first + (k + 1) * batch)) for k in range(accum)]
        counts = (labels[first : first + batch * accum][:, 1:] != -100).sum().item()
        total = 0.0
        for rows in micro:
            losses, number = sums(rows)
            if normalisation == "sample":
                loss = (losses / number).sum() / (batch * accum)
            elif normalisation == "token":
                loss = losses.sum() / counts
            else:
                loss = losses.sum() / number.sum() / accum
            loss.backward()
            total += loss.item()
        trained = [q for g in groups for q in g["params"]]
        norm = torch.nn.utils.clip_grad_norm_(trained, clip if clip > 0 else float("inf")).item()
        rates = [g["lr"] for g in optimizer.param_groups]
        optimizer.step()
        schedule.step()
        trace.append(dict(loss=total, grad_norm=norm, lr=rates[0]))
    options = dict(lossNormalisation=normalisation, lr=lr, weightDecay=weight_decay, maxGradNorm=clip)
    options |= dict(freezeProjector=True) if projector_lr is None else dict(projectorLr=projector_lr)
    options |= dict(scheduler="constant") if warmup is None else dict(scheduler="cosine", warmupRatio=warmup / steps)
    file = f"{name.replace(' ', '-')}.safetensors"
    kept = {
        k.replace(".default", ""): q.detach().float().contiguous()
        for k, q in adapted.named_parameters()
        if "lora_" in k or "multi_modal_projector" in k
    }
    save_file(kept, out / file)
    return dict(name=name, file=file, options=options, trace=trace)


runs = [
    run("by samples", "sample"),
    run("by tokens", "token"),
    run("by micro-batches", "microbatch"),
    # As LLaVA trains: the projector with a rate of its own, warm-up and cosine. Decay and clipping, which it does not use, too.
    run("the projector too", "sample", projector_lr=3e-4, weight_decay=0.1, warmup=2, clip=0.5),
]
versions = dict(torch=torch.__version__, transformers=transformers.__version__, peft=peft.__version__)
(out / "traces.json").write_text(json.dumps(dict(versions=versions, batch=batch, accum=accum, steps=steps, runs=runs), indent=1))
