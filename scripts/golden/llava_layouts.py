"""Goldens of LLaVA's layouts on disk: one tiny model with random weights in every layout that kuea reads, and PEFT adapters of it, old and
new.

  python scripts/golden/llava_layouts.py      (torch, transformers, peft, safetensors; writes test/golden/llava-layouts/)

transformers and peft write the layouts that they write today; the others are the same tensors under the names of the published
checkpoints. manifest.json has the SHA-256 of every parameter's bytes under kuea's names, and what peft makes of a merge in fp32.
"""

import base64
import hashlib
import json
import pathlib
import shutil

import peft
import torch
import transformers
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlamaForCausalLM, LlavaConfig, LlavaForConditionalGeneration

torch.manual_seed(0)
torch.set_num_threads(1)
out = pathlib.Path(__file__).parents[2] / "test/golden/llava-layouts"
shutil.rmtree(out, ignore_errors=True)
vocabulary, rows, rank, alpha = 40, 48, 2, 4
vision = dict(
    hidden_size=64,
    intermediate_size=16,
    num_hidden_layers=2,
    num_attention_heads=1,
    patch_size=4,
    image_size=8,
    projection_dim=8,
    hidden_act="quick_gelu",
)
text = dict(
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=2,
    rms_norm_eps=1e-5,
    max_position_embeddings=128,
    pad_token_id=0,
)
linears = [f"self_attn.{p}_proj" for p in "qkvo"] + [f"mlp.{p}_proj" for p in ("gate", "up", "down")]


def folder(case):
    path = out / case
    path.mkdir(parents=True)
    return path


def write_json(path, value):
    path.write_text(json.dumps(value, indent=1) + "\n")


def randomise(model):
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape) * 0.3)
    return model.half()


llava = randomise(
    LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=CLIPVisionConfig(**vision),
            text_config=LlamaConfig(**text, vocab_size=rows),
            image_token_index=vocabulary,
            image_seq_length=4,
        )
    )
)
memory = {k: v.contiguous() for k, v in llava.state_dict().items()}


def renamed(rules, state=memory):
    """Each name with its first fitting prefix replaced; None drops it."""
    made = {}
    for name, tensor in state.items():
        old, new = next((r for r in rules if name.startswith(r[0])), ("", ""))
        if new is not None:
            made[new + name[len(old) :]] = tensor
    return made


to_original = [
    ("model.language_model.", "model."),
    ("model.multi_modal_projector.linear_1.", "model.mm_projector.0."),
    ("model.multi_modal_projector.linear_2.", "model.mm_projector.2."),
    ("model.vision_tower.", "model.vision_tower.vision_tower.vision_model."),
]
to_old = [
    ("model.language_model.", "language_model.model."),
    ("lm_head.", "language_model.lm_head."),
    ("model.multi_modal_projector.", "multi_modal_projector."),
    ("model.vision_tower.", "vision_tower.vision_model."),
]
to_new = [("model.vision_tower.", "model.vision_tower.vision_model.")]

original = renamed([*to_original[:3], ("model.vision_tower.", None)])
for name in ("model.embed_tokens.weight", "lm_head.weight"):
    original[name] = original[name][:vocabulary].clone()
with_buffers = dict(
    original, **{f"model.layers.{i}.self_attn.rotary_emb.inv_freq": 1.0 / 10000 ** (torch.arange(0, 8, 2) / 8) for i in range(2)}
)
original_config = dict(
    architectures=["LlavaLlamaForCausalLM"],
    model_type="llava",
    **{k: v for k, v in text.items() if k != "num_key_value_heads"},
    vocab_size=vocabulary,
    hidden_act="silu",
    rope_scaling=None,
    tie_word_embeddings=False,
    torch_dtype="float16",
    transformers_version="4.31.0",
    use_cache=True,
    bos_token_id=1,
    eos_token_id=2,
    mm_vision_tower="../tower-hf",
    mm_hidden_size=64,
    mm_projector_type="mlp2x_gelu",
    mm_vision_select_layer=-2,
    mm_vision_select_feature="patch",
    mm_use_im_start_end=False,
    mm_use_im_patch_token=False,
    image_aspect_ratio="pad",
    mm_resampler_type=None,
    use_mm_proj=True,
)


def shards(path, state, write, pattern, index):
    names = list(state)
    half = len(names) // 2
    weight_map = {}
    for i, part in enumerate((names[:half], names[half:]), 1):
        file = pattern % i
        write({n: state[n] for n in part}, path / file)
        weight_map.update({n: file for n in part})
    write_json(
        path / index, dict(metadata=dict(total_size=sum(t.numel() * t.element_size() for t in state.values())), weight_map=weight_map)
    )


# liuhaotian's: two torch shards, fp32 buffers, no tower.
path = folder("original")
shards(path, with_buffers, torch.save, "pytorch_model-%05d-of-00002.bin", "pytorch_model.bin.index.json")
write_json(path / "config.json", original_config)
# A re-save with the tower, of more rows than the vocabulary.
path = folder("original-tower")
save_file(renamed(to_original), path / "model.safetensors", {"format": "pt"})
write_json(
    path / "config.json",
    dict(original_config, model_type="llava_llama", mm_vision_tower="openai/clip-vit-large-patch14-336", image_aspect_ratio="square"),
)
# A LLaMA, and the projector of LLaVA's first stage beside it.
path = folder("vicuna")
torch.save({k: v for k, v in with_buffers.items() if "mm_projector" not in k}, path / "pytorch_model.bin")
torch.save({k: v for k, v in original.items() if "mm_projector" in k}, path / "mm_projector.bin")
write_json(
    path / "config.json",
    dict(
        {k: v for k, v in original_config.items() if "mm_" not in k and "image" not in k},
        model_type="llama",
        architectures=["LlamaForCausalLM"],
    ),
)
# llava-hf's: the published shards, the names in memory since 4.52, and what transformers writes today.
small_config = dict(
    architectures=["LlavaForConditionalGeneration"],
    model_type="llava",
    image_token_index=vocabulary,
    ignore_index=-100,
    projector_hidden_act="gelu",
    vision_feature_layer=-2,
    vision_feature_select_strategy="default",
    torch_dtype="float16",
    text_config=dict({k: v for k, v in text.items() if k != "num_key_value_heads"}, model_type="llama", vocab_size=rows),
    vision_config=dict(vision, model_type="clip_vision_model"),
)
path = folder("hf-old")
shards(
    path, renamed(to_old), lambda s, f: save_file(s, f, {"format": "pt"}), "model-%05d-of-00002.safetensors", "model.safetensors.index.json"
)
write_json(path / "config.json", small_config)
path = folder("hf-new")
save_file(renamed(to_new), path / "model.safetensors", {"format": "pt"})
write_json(path / "config.json", small_config)
llava.save_pretrained(folder("hf-newest"))

# Towers apart: transformers' own folder, and the state dict of an open_clip visual module in one file.
tower = CLIPVisionModel(CLIPVisionConfig(**vision)).half()
tower.load_state_dict(renamed([("model.vision_tower.", "")], {k: v for k, v in memory.items() if "vision_tower" in k}))
tower.save_pretrained(folder("tower-hf"))
v = {k[len("model.vision_tower.") :]: t for k, t in memory.items() if "vision_tower" in k}
visual = {
    "class_embedding": v["embeddings.class_embedding"],
    "positional_embedding": v["embeddings.position_embedding.weight"],
    "conv1.weight": v["embeddings.patch_embedding.weight"],
}
for kind in ("weight", "bias"):
    visual[f"ln_pre.{kind}"], visual[f"ln_post.{kind}"] = v[f"pre_layrnorm.{kind}"], v[f"post_layernorm.{kind}"]
    for i in range(2):
        a, b = f"encoder.layers.{i}.", f"transformer.resblocks.{i}."
        visual[f"{b}attn.in_proj_{kind}"] = torch.cat([v[f"{a}self_attn.{p}_proj.{kind}"] for p in "qkv"])
        for theirs, ours in {
            "self_attn.out_proj": "attn.out_proj",
            "layer_norm1": "ln_1",
            "layer_norm2": "ln_2",
            "mlp.fc1": "mlp.c_fc",
            "mlp.fc2": "mlp.c_proj",
        }.items():
            visual[f"{b}{ours}.{kind}"] = v[f"{a}{theirs}.{kind}"]
torch.save(dict(visual, proj=torch.randn(64, 8).half()), folder("tower-visual") / "final.pt")

# Adapters: peft on the LLaMA gives the original's keys, on llava-hf's class the new ones; the old ones differ in a prefix.
settings = dict(r=rank, lora_alpha=alpha, lora_dropout=0.05, bias="none", task_type="CAUSAL_LM")
targets = [name.split(".")[1] for name in linears]
llama = LlamaForCausalLM(LlamaConfig(**text, vocab_size=vocabulary)).half()
llama.load_state_dict({k: t for k, t in original.items() if "mm_projector" not in k})
on_llama = get_peft_model(llama, LoraConfig(**settings, target_modules=targets))
for name, p in on_llama.named_parameters():
    if "lora_" in name:
        p.data = torch.randn(p.shape) * 0.2
on_llama.save_pretrained(out / "adapter-original")
(out / "adapter-original/README.md").unlink()
lora = {k[len("base_model.model.") :]: t for k, t in peft.get_peft_model_state_dict(on_llama).items()}
projector = {k: t.float() + 1 for k, t in original.items() if "mm_projector" in k}
torch.save({f"base_model.model.{k}": t for k, t in projector.items()}, out / "adapter-original/non_lora_trainables.bin")
write_json(out / "adapter-original/config.json", original_config)

old_config = dict(
    alpha_pattern={},
    auto_mapping=None,
    base_model_name_or_path="./checkpoints/vicuna",
    bias="none",
    fan_in_fan_out=False,
    inference_mode=True,
    init_lora_weights=True,
    layers_pattern=None,
    layers_to_transform=None,
    lora_alpha=alpha,
    lora_dropout=0.05,
    modules_to_save=None,
    peft_type="LORA",
    r=rank,
    rank_pattern={},
    revision=None,
    target_modules=targets,
    task_type="CAUSAL_LM",
)
path = folder("adapter-original-bin")
torch.save({f"base_model.model.{k}": t for k, t in lora.items()}, path / "adapter_model.bin")
torch.save({}, path / "non_lora_trainables.bin")
write_json(path / "adapter_config.json", old_config)
path = folder("adapter-hf-old")
save_file(
    {f"base_model.model.language_model.{k}": t.contiguous() for k, t in lora.items()}, path / "adapter_model.safetensors", {"format": "pt"}
)
write_json(path / "adapter_config.json", old_config)
on_llava = get_peft_model(
    llava, LoraConfig(**settings, target_modules=r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)")
)
peft.set_peft_model_state_dict(on_llava, {f"base_model.model.model.language_model.{k[len('model.'):]}": t for k, t in lora.items()})
for name, p in on_llava.named_parameters():
    if "lora_" in name:
        p.data = p.data.float()
on_llava.save_pretrained(out / "adapter-hf-new")
(out / "adapter-hf-new/README.md").unlink()

# What a merge gives: peft's, in fp32.
merged = on_llama.float().merge_and_unload().state_dict()
sha = lambda t: hashlib.sha256(t.contiguous().numpy().tobytes()).hexdigest()
encoded = lambda t: base64.b64encode(t.contiguous().numpy().tobytes()).decode()
parameters = {k: sha(t) for k, t in original.items()} | {f"vision.{k}": sha(t) for k, t in visual.items()}
tall = {
    "model.embed_tokens.weight": sha(memory["model.language_model.embed_tokens.weight"]),
    "lm_head.weight": sha(memory["lm_head.weight"]),
}
versions = dict(torch=torch.__version__, transformers=transformers.__version__, peft=peft.__version__)
write_json(
    out / "manifest.json",
    dict(
        versions=versions,
        rank=rank,
        alpha=alpha,
        vocabulary=vocabulary,
        rows=rows,
        parameters=parameters,
        tall=tall,
        lora={k: sha(t) for k, t in lora.items()},
        projector={k: sha(t) for k, t in projector.items()},
        merged={f"model.layers.1.{n}.weight": encoded(merged[f"model.layers.1.{n}.weight"]) for n in linears},
    ),
)
