"""Goldens of a tiny LLaVA in float64: losses of single samples, gradients, updates, greedy generation; and the 16 values of NF4.

  python scripts/golden/llava_trace.py      (torch, transformers, peft, safetensors; writes test/golden/llava-trace/)

Weights are bf16 numbers, so that every precision of ours starts from the very ones that float64 has here. For each gradient the error of
the same computation in fp32 is kept too: what a rounding costs anyhow.
"""

import base64, copy, json, pathlib, shutil, statistics
import torch
import torch.nn.functional as F
import transformers, peft
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration
from transformers.models.llama.modeling_llama import LlamaRMSNorm

torch.set_num_threads(1)
out = pathlib.Path(__file__).parents[2] / "test/golden/llava-trace"
shutil.rmtree(out, ignore_errors=True)
out.mkdir(parents=True)
size, patch, vocabulary = 28, 14, 96
image, patches = vocabulary - 1, (size // patch) ** 2
mean = torch.tensor([0.48145466, 0.4578275, 0.40821073], dtype=torch.float64).view(1, 3, 1, 1)
std = torch.tensor([0.26862954, 0.26130258, 0.27577711], dtype=torch.float64).view(1, 3, 1, 1)

# Upstream's norm goes through fp32 whatever it is given; in float64 it shall not.
LlamaRMSNorm.forward = lambda self, x: self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))

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
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        vocab_size=vocabulary,
        max_position_embeddings=512,
        rms_norm_eps=1e-5,
        initializer_range=0.1,
    ),
    image_token_index=image,
    vision_feature_layer=-2,
    vision_feature_select_strategy="default",
)
LlavaForConditionalGeneration(config).to(torch.bfloat16).save_pretrained(out / "model")
# Loaded again, because to(bfloat16) rounded RoPE's frequencies too.
model = get_peft_model(
    LlavaForConditionalGeneration.from_pretrained(out / "model", dtype=torch.float32),
    LoraConfig(
        r=4,
        lora_alpha=8,
        lora_dropout=0.0,
        bias="none",
        target_modules=r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)",
    ),
)
for name, q in model.named_parameters():
    if "lora_B" in name:
        torch.nn.init.normal_(q, std=0.1)
model.save_pretrained(out / "adapter0")
(out / "adapter0" / "README.md").unlink()
model = model.double().eval()


def sample(length, images, answer):
    """Random tokens, the images' among them from the third on, of which the last `answer` are learnt. Ours mark an image feature by -200.
    Random tokens, the images' among them from the third on, of which the last `answer` are learnt. Ours mark an image feature by -200."""
    ids = torch.randint(3, vocabulary - 1, (length,))
    ids[0] = 1
    ids[3 : 3 + images * patches] = image
    labels = ids.clone()
    labels[: length - answer] = -100
    pixels = (
        F.interpolate(torch.rand(images, 3, 5, 5), size=(size, size), mode="bicubic").clamp(0, 1).mul(255).round().to(torch.uint8)
        if images
        else torch.zeros(0, 3, size, size, dtype=torch.uint8)
    )
    return dict(ids=ids, labels=labels, pixels=pixels)


# Of these the second has no image, the third two, the fourth nothing to learn, the fifth is longer than a block of the attention's
# backward.
samples = [sample(20, 1, 6), sample(11, 0, 4), sample(25, 2, 9), sample(14, 1, 0), sample(300, 1, 40), sample(17, 1, 1), sample(9, 0, 8)]
samples[6]["labels"][0] = 5  # A first label, which nothing predicts.


def logits_of(m, s):
    dtype = next(m.parameters()).dtype
    given = dict(pixel_values=((s["pixels"].double() / 255 - mean) / std).to(dtype)) if len(s["pixels"]) else {}
    return m(input_ids=s["ids"][None], attention_mask=torch.ones(1, len(s["ids"]), dtype=torch.long), **given).logits[0]


def loss_of(m, s, logits=None):
    """Mean over the labels, 0 when there is none."""
    logits = logits_of(m, s) if logits is None else logits
    total = F.cross_entropy(logits[:-1], s["labels"][1:], ignore_index=-100, reduction="sum")
    return total / max(1, int((s["labels"][1:] != -100).sum()))


def ln_post_loss(m, s):
    """The same with the features through CLIP's last norm, as the paper's code had them."""
    inner = m.base_model.model.model
    tower = inner.vision_tower
    hidden = tower((s["pixels"].double() / 255 - mean) / std, output_hidden_states=True).hidden_states[-2]
    features = inner.multi_modal_projector(getattr(tower, "vision_model", tower).post_layernorm(hidden)[:, 1:])
    embeds = inner.language_model.embed_tokens(s["ids"].clamp(max=vocabulary - 1)).clone()
    embeds[s["ids"] == image] = features.reshape(-1, features.shape[-1])
    hidden = inner.language_model(inputs_embeds=embeds[None]).last_hidden_state[0]
    return loss_of(m, s, m.base_model.model.lm_head(hidden))


def trained(m):
    """Our names and the parameters: the adapters', and the projector's."""
    for name, q in m.named_parameters():
        if "lora_" in name:
            yield name.replace("base_model.model.model.language_model.", "model.").replace(".default", ""), q
        if "multi_modal_projector" in name:
            yield name.replace("base_model.model.model.multi_modal_projector.linear_", "model.mm_projector.").replace(
                "projector.1.", "projector.0."
            ), q


with torch.no_grad():
    losses = [loss_of(model, s).item() for s in samples]
    ln_post = ln_post_loss(model, samples[0]).item()


def gradients(m):
    for _, q in trained(m):
        q.requires_grad_(True)
        q.grad = None
    sum(loss_of(m, s) for s in samples).div(len(samples)).backward()
    return {name: q.grad.clone() for name, q in trained(m)}


exact, rounded = gradients(model), gradients(copy.deepcopy(model).float())
errors = {name: ((rounded[name].double() - g).abs().max() / g.abs().max()).item() for name, g in exact.items()}
norm = torch.sqrt(sum(g.square().sum() for g in exact.values())).item()
save_file({name: g.float() for name, g in exact.items()}, out / "gradients.safetensors")

updates, lr, projector_lr, decay = [], 1e-3, 2e-4, 0.1
m = copy.deepcopy(model)
names = dict(trained(m))
groups = lambda test, rate: [
    dict(params=[q for n, q in names.items() if test(n) and n.endswith("weight")], lr=rate, weight_decay=decay),
    dict(params=[q for n, q in names.items() if test(n) and n.endswith("bias")], lr=rate, weight_decay=0.0),
]
optimizer = torch.optim.AdamW(groups(lambda n: "lora" in n, lr) + groups(lambda n: "projector" in n, projector_lr))
for _ in range(4):
    gradients(m)
    total = torch.nn.utils.clip_grad_norm_(names.values(), 0.5 * norm).item()
    with torch.no_grad():
        updates.append(dict(loss=sum(loss_of(m, s) for s in samples).item() / len(samples), grad_norm=total))
    optimizer.step()
save_file({name: q.detach().float() for name, q in names.items()}, out / "updated.safetensors")


@torch.no_grad()
def greedy(s, count):
    """By the definition, the whole sequence again for each token; the least distance from the second likeliest tells that no rounding
    decides."""
    ids, margin = s["ids"].clone(), 1e9
    for _ in range(count):
        top = logits_of(model, {**s, "ids": ids})[-1].topk(2)
        margin = min(margin, (top.values[0] - top.values[1]).item())
        ids = torch.cat([ids, top.indices[:1]])
    generated = model.generate(
        input_ids=s["ids"][None],
        attention_mask=torch.ones(1, len(s["ids"]), dtype=torch.long),
        max_new_tokens=count,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
        **(dict(pixel_values=(s["pixels"].double() / 255 - mean) / std) if len(s["pixels"]) else {})
    )[0, len(s["ids"]) :]
    assert generated.tolist() == ids[len(s["ids"]) :].tolist() and margin > 1e-3, (generated, ids, margin)
    return generated.tolist()


generation = [greedy(samples[i], 24) for i in (0, 1, 2)]

# The published construction (Dettmers et al. 2023): quantiles of the normal distribution, 8 of the upper half, 7 of the lower, and 0.
offset = 0.9677083
quantiles = lambda count: [statistics.NormalDist().inv_cdf(offset + (0.5 - offset) * i / count) for i in range(count)]
nf4 = sorted([*quantiles(8), 0.0, *(-q for q in quantiles(7))])
nf4 = [v / max(nf4) for v in nf4]

js = lambda s: dict(
    tokens=[-200 if v == image else v for v in s["ids"].tolist()],
    labels=s["labels"].tolist(),
    images=len(s["pixels"]),
    pixels=base64.b64encode(s["pixels"].numpy().tobytes()).decode(),
)
versions = dict(torch=torch.__version__, transformers=transformers.__version__, peft=peft.__version__)
(out / "trace.json").write_text(
    json.dumps(
        dict(
            versions=versions,
            samples=[js(s) for s in samples],
            losses=losses,
            ln_post=ln_post,
            grad_norm=norm,
            fp32_errors=errors,
            updates=dict(lr=lr, projector_lr=projector_lr, weight_decay=decay, max_grad_norm=0.5 * norm, trace=updates),
            generation=generation,
            nf4=nf4,
        )
    )
)
