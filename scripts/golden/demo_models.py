"""The two tiny models of the demo (configs/demo/clip, configs/demo/dinov2), trained on scenes that lib/data/scenes.ts draws.

  node -e "import('./dist/lib/demo/scenes.js').then((s) => s.writeScenes('runs/training-scenes', 12000, 1, 96))"
  python scripts/golden/demo_models.py --scenes runs/training-scenes --out configs/demo

clip: image and coarse caption, CLIP's symmetric contrastive loss. dinov2: supervised, not DINO's self-distillation; linear heads on the
normed CLS token read, for each ninth of the frame, the colour and the shape of what is there, and the count of each colour and shape.
The heads are thrown away. Both see 64-pixel images with CLIP's mean and standard deviation, as kuea-align feeds them. One CPU thread takes
about 7 minutes; the result is not bitwise the same on another machine.
"""

import argparse, json, math, os, time
import torch, torch.nn as nn, torch.nn.functional as F
from PIL import Image
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPTokenizer,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    BitImageProcessor,
)

SIZE, WIDTH, LAYERS, DIM, CONTEXT = 64, 128, 3, 64, 16
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
SHAPES = ["circle", "square", "triangle", "star", "cross"]
COLOURS = ["red", "green", "blue", "yellow", "orange", "purple", "black"]


def read_scenes(folder):
    """Pixels uint8 [n, 3, 64, 64], captions, and facts: class of colour and shape in each cell [n, 9] (0 is nothing), counts [n, 12]."""
    records = [json.loads(line) for line in open(f"{folder}/metadata.jsonl")]
    pixels, colours, shapes = [], torch.zeros(len(records), 9, dtype=torch.long), torch.zeros(len(records), 9, dtype=torch.long)
    for i, record in enumerate(records):
        image = Image.open(f"{folder}/{record['file_name']}").convert("RGB").resize((SIZE, SIZE), Image.BICUBIC)
        pixels.append(torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(SIZE, SIZE, 3).permute(2, 0, 1))
        for o in record["scene"]["objects"]:
            cell = int(o["y"] * 3) * 3 + int(o["x"] * 3)
            colours[i, cell], shapes[i, cell] = COLOURS.index(o["colour"]) + 1, SHAPES.index(o["shape"]) + 1
    counts = torch.cat([F.one_hot(colours, 8).sum(1)[:, 1:], F.one_hot(shapes, 6).sum(1)[:, 1:]], 1).float()
    return torch.stack(pixels), [r["text"] for r in records], colours, shapes, counts


def normalised(pixels):
    return (pixels.float() / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def train(name, parameters, loss_of, n, steps, lr, batch=128):
    """AdamW in bf16 autocast, linear warm-up and cosine."""
    optimiser = torch.optim.AdamW(parameters, lr=lr, weight_decay=0.01, betas=(0.9, 0.98))
    start, order = time.time(), torch.randperm(n)
    for step in range(steps):
        if len(order) < batch:
            order = torch.randperm(n)
        rows, order = order[:batch], order[batch:]
        for group in optimiser.param_groups:
            group["lr"] = lr * min((step + 1) / 50, 0.5 * (1 + math.cos(math.pi * step / steps)))
        with torch.autocast("cpu", torch.bfloat16):
            loss, text = loss_of(rows)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        if step % 50 == 0 or step == steps - 1:
            print(f"{name} {step}: {text}", flush=True)
    print(f"{name}: {steps} steps of {batch} in {time.time() - start:.0f} s")


def tokenizer_for(captions, folder):
    """CLIP's byte-pair format with a vocabulary learnt from the captions: any text still tokenises, byte by byte."""
    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>", continuing_subword_prefix=""))
    bpe.normalizer, bpe.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    bpe.train_from_iterator(captions, trainers.BpeTrainer(vocab_size=4000, end_of_word_suffix="</w>", show_progress=False))
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in json.loads(bpe.to_str())["model"]["merges"]]
    # OpenAI's order: every byte, every byte at a word's end, the merges, the two specials.
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    alphabet = [chr(b) for b in printable] + [chr(256 + i) for i in range(len(others))]
    tokens = alphabet + [a + "</w>" for a in alphabet] + ["".join(m) for m in merges] + ["<|startoftext|>", "<|endoftext|>"]
    os.makedirs(folder, exist_ok=True)
    json.dump({t: i for i, t in enumerate(tokens)}, open(f"{folder}/vocab.json", "w"), ensure_ascii=False)
    open(f"{folder}/merges.txt", "w").write("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    json.dump(
        {
            "tokenizer_class": "CLIPTokenizer",
            "model_max_length": CONTEXT,
            "bos_token": "<|startoftext|>",
            "eos_token": "<|endoftext|>",
            "unk_token": "<|endoftext|>",
            "pad_token": "<|endoftext|>",
        },
        open(f"{folder}/tokenizer_config.json", "w"),
        indent=1,
    )
    return CLIPTokenizer.from_pretrained(folder), len(tokens)


def clip(pixels, captions, folder, steps):
    tokenizer, vocabulary = tokenizer_for(captions, folder)
    batch = tokenizer(captions, padding="max_length", max_length=CONTEXT, return_tensors="pt")
    ids, mask = batch.input_ids, batch.attention_mask
    assert ids.shape[1] == CONTEXT
    text = dict(
        projection_dim=DIM,
        hidden_size=64,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=1,
        vocab_size=vocabulary,
        max_position_embeddings=CONTEXT,
        bos_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1,
        pad_token_id=vocabulary - 1,
    )
    vision = dict(
        projection_dim=DIM,
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=WIDTH // 64,
        patch_size=8,
        image_size=SIZE,
    )
    model = CLIPModel(
        CLIPConfig(
            text_config={**text, "hidden_act": "quick_gelu"}, vision_config={**vision, "hidden_act": "quick_gelu"}, projection_dim=DIM
        )
    )

    def loss_of(rows):
        out = model(input_ids=ids[rows], attention_mask=mask[rows], pixel_values=normalised(pixels[rows]))
        logits = out.logits_per_image.float()
        target = torch.arange(len(rows))
        # Two scenes may share a caption, and then neither is wrong for the other.
        same = (ids[rows][:, None] == ids[rows][None]).all(2) & ~torch.eye(len(rows), dtype=torch.bool)
        logits = logits.masked_fill(same, float("-inf"))
        loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        return loss, f"loss {loss.item():.3f}, right caption first {(logits.argmax(1) == target).float().mean().item():.2f}"

    train("clip", list(model.parameters()), loss_of, len(pixels), steps, 2e-3)
    model.logit_scale.data.clamp_(max=4.6052)
    embed = lambda x: model.visual_projection(model.vision_model(pixel_values=x).pooler_output)
    with torch.no_grad():  # OpenAI's embeddings have a norm of about 10; directions, and so all of CLIP's own scores, stay.
        model.visual_projection.weight *= 10 / embed(normalised(pixels[:512])).norm(dim=1).mean()
    return model, CLIPImageProcessor(
        size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE}, resample=3, image_mean=list(MEAN), image_std=list(STD)
    )


def dinov2(pixels, colours, shapes, counts, steps):
    # Positions for 96 pixels, fed 64: they are interpolated in every forward, as DINOv2's are (518, fed 224).
    model = Dinov2WithRegistersModel(
        Dinov2WithRegistersConfig(
            hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=WIDTH // 64, patch_size=8, image_size=96, num_register_tokens=2
        )
    )
    side = 96 // 8
    angle = torch.arange(side)[:, None] / side * torch.pi * torch.arange(1, WIDTH // 4 + 1)[None] / 4
    wave = torch.cat([angle.sin(), angle.cos()], 1)
    grid = torch.cat([wave[:, None].expand(side, side, -1), wave[None].expand(side, side, -1)], 2).reshape(1, side * side, WIDTH)
    with torch.no_grad():
        model.embeddings.position_embeddings[:, 1:] = 0.3 * grid
    heads = nn.Linear(WIDTH, 9 * 8 + 9 * 6 + 12)

    def loss_of(rows):
        cls = model(pixel_values=normalised(pixels[rows])).last_hidden_state[:, 0]
        out = heads(cls).float()
        colour, shape, count = out.split([72, 54, 12], 1)
        right = (colour.view(-1, 9, 8).argmax(2) == colours[rows]).float().mean().item()
        where = F.cross_entropy(colour.reshape(-1, 8), colours[rows].reshape(-1)) + F.cross_entropy(
            shape.reshape(-1, 6), shapes[rows].reshape(-1)
        )
        # Mostly what and how many, less where: kinds are what CLIP knows too, so the two kernels have something in common to start from.
        loss = 3 * F.mse_loss(count, counts[rows]) + 0.3 * where
        return loss, f"loss {loss.item():.3f}, cells right {right:.2f}, count error {F.mse_loss(count, counts[rows]).item():.3f}"

    train("dinov2", list(model.parameters()) + list(heads.parameters()), loss_of, len(pixels), steps, 1e-3)
    # Centred, and |g|^2 / dim = 2, as DINOv2-L's embeddings are (norm 45, 1024 dimensions): the teacher's kernel sees that ratio.
    with torch.no_grad():
        cls = torch.cat([model(pixel_values=normalised(p)).last_hidden_state[:, 0] for p in pixels[:512].split(128)])
        model.layernorm.bias -= cls.mean(0)
        scale = (2 * WIDTH / (cls - cls.mean(0)).pow(2).sum(1).mean()).sqrt()
        model.layernorm.weight *= scale
        model.layernorm.bias *= scale
    return model, BitImageProcessor(
        size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE}, resample=3, image_mean=list(MEAN), image_std=list(STD)
    )


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--scenes", required=True)
    p.add_argument("--out", default="configs/demo")
    p.add_argument("--clip-steps", type=int, default=500)
    p.add_argument("--dinov2-steps", type=int, default=400)
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--only", choices=["clip", "dinov2"])
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(0)
    pixels, captions, colours, shapes, counts = read_scenes(a.scenes)
    if a.only != "dinov2":
        model, processor = clip(pixels, captions, f"{a.out}/clip", a.clip_steps)
        model.half().save_pretrained(f"{a.out}/clip")
        processor.save_pretrained(f"{a.out}/clip")
    if a.only != "clip":
        model, processor = dinov2(pixels, colours, shapes, counts, a.dinov2_steps)
        model.half().save_pretrained(f"{a.out}/dinov2")
        processor.save_pretrained(f"{a.out}/dinov2")


if __name__ == "__main__":
    main()
