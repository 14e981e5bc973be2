"""The tiny language model of the LoRA miniature (configs/demo/llava): a LLaMA that can answer questions about scenes that are told in
words, and has never seen one.

  node scripts/golden/demo_llava.mjs runs/told-scenes
  python scripts/golden/demo_llava.py --told runs/told-scenes --out configs/demo/llava

It learns text alone: what is in a scene ("red circle top left blue star centre"), a question, the answer. Then it is put into LLaVA's
original layout with a projector that is drawn at random, and the demo's CLIP as its tower: what kuea-lora has to teach it is to see. Two
CPU threads take a few minutes; the result is not bitwise the same on another machine.
"""

import argparse, json, math, os, shutil, time
import torch, torch.nn.functional as F
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

WIDTH, LAYERS, HEADS, MLP, VISION = 96, 3, 4, 256, 128
p = argparse.ArgumentParser()
p.add_argument("--told", required=True)
p.add_argument("--out", required=True)
p.add_argument("--steps", type=int, default=1500)
p.add_argument("--batch", type=int, default=48)
a = p.parse_args()
torch.manual_seed(0)
tokenizer = Tokenizer.from_file(f"{a.told}/tokenizer.json")
config = json.load(open(f"{a.told}/tokenizer_config.json"))
told = [json.loads(line) for line in open(f"{a.told}/told.jsonl")]
encode = lambda text: tokenizer.encode(text, add_special_tokens=False).ids
prompts = [[1] + encode(t["prompt"]) for t in told]
answers = [encode(t["answer"]) + [2] for t in told]
assert all(0 not in ids for ids in prompts + answers), "a word that the tokenizer does not know"

llama = LlamaConfig(
    hidden_size=WIDTH,
    num_hidden_layers=LAYERS,
    num_attention_heads=HEADS,
    num_key_value_heads=HEADS,
    intermediate_size=MLP,
    vocab_size=tokenizer.get_vocab_size(),
    max_position_embeddings=256,
    rms_norm_eps=1e-5,
    tie_word_embeddings=False,
)
model = LlamaForCausalLM(llama)
print(f"{sum(q.numel() for q in model.parameters()):,} parameters, {len(told):,} questions", flush=True)
held = 512
optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)


def batch_of(rows):
    ids = [prompts[i] + answers[i] for i in rows]
    length = max(map(len, ids))
    tokens = torch.tensor([s + [0] * (length - len(s)) for s in ids])
    labels = torch.tensor([[-100] * len(prompts[i]) + answers[i] + [-100] * (length - len(s)) for i, s in zip(rows, ids)])
    return tokens, labels


def accuracy():
    """Share of unseen questions whose answer is the likeliest, word by word."""
    with torch.no_grad():
        tokens, labels = batch_of(range(held))
        right = (model(tokens).logits[:, :-1].argmax(-1) == labels[:, 1:]) | (labels[:, 1:] == -100)
        return right.all(1).float().mean().item()


start = time.time()
for step in range(a.steps):
    for group in optimiser.param_groups:
        group["lr"] = 2e-3 * min((step + 1) / 50, 0.5 * (1 + math.cos(math.pi * step / a.steps)))
    tokens, labels = batch_of((held + torch.randint(len(told) - held, (a.batch,))).tolist())
    logits = model(tokens).logits[:, :-1]
    # Every word of the question a little, for the language; the answer for the reasoning.
    loss = F.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
    optimiser.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    if step % 100 == 0 or step == a.steps - 1:
        print(
            f"{step}: loss {loss.item():.3f}, {100 * accuracy():.1f} % of unseen questions right, {time.time() - start:.0f} s", flush=True
        )

os.makedirs(a.out, exist_ok=True)
state = {name: q.detach().to(torch.bfloat16).contiguous() for name, q in model.state_dict().items()}
for i, inner in ((0, VISION), (2, WIDTH)):
    linear = torch.nn.Linear(inner, WIDTH)
    state[f"model.mm_projector.{i}.weight"], state[f"model.mm_projector.{i}.bias"] = (
        q.detach().to(torch.bfloat16) for q in (linear.weight, linear.bias)
    )
save_file(state, f"{a.out}/model.safetensors", metadata={"format": "pt"})
fields = dict(
    model_type="llava",
    architectures=["LlavaLlamaForCausalLM"],
    mm_vision_tower="../clip",
    mm_hidden_size=VISION,
    mm_vision_select_layer=-2,
    mm_vision_select_feature="patch",
    mm_projector_type="mlp2x_gelu",
    mm_use_im_start_end=False,
    mm_use_im_patch_token=False,
    image_aspect_ratio="pad",
    tokenizer_model_max_length=256,
    torch_dtype="bfloat16",
    **{
        k: getattr(llama, k)
        for k in (
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "num_key_value_heads",
            "intermediate_size",
            "vocab_size",
            "max_position_embeddings",
            "rms_norm_eps",
            "tie_word_embeddings",
            "hidden_act",
        )
    },
    rope_theta=10000.0,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=0,
)
json.dump(fields, open(f"{a.out}/config.json", "w"), indent=2, sort_keys=True)
for name in ("tokenizer.json", "tokenizer_config.json"):
    shutil.copy(f"{a.told}/{name}", a.out)
