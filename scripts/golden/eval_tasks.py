"""Goldens of kuea-eval: drawn sets in CLIP_benchmark's layout, and what transformers' CLIP and Pillow measure of the demo's CLIP on them.

  python scripts/golden/eval_tasks.py      (torch, transformers, Pillow; writes test/golden/eval-tasks/)

wds/ has two splits of two shards with labels; retrieval/ captions, one to three an image. expected.json: metrics of the three tasks by
protocol, the five best classes and the logits of each test image, the loss of the probe at its optimum.
"""

import io, json, pathlib, random, shutil, tarfile
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torchvision.transforms.functional import to_tensor
from transformers import CLIPModel, CLIPTokenizer

torch.set_num_threads(1)
root = pathlib.Path(__file__).parents[2]
out = root / "test/golden/eval-tasks"
shutil.rmtree(out, ignore_errors=True)
rng = random.Random(0)

COLOURS = ["red", "green", "blue", "yellow"]
SHAPES = ["circle", "square"]
NAMES = [f"{colour} {shape}" for colour in COLOURS for shape in SHAPES]
TEMPLATES = ["a photo of a {c}.", "art of {c}, and nothing else!"]
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
SIDE, CONTEXT, L2 = 64, 16, 1e-3


def drawn(label):
    """Some figures of one kind, of which a fifth is another's, so that no classifier is right throughout."""
    w, h = rng.randrange(50, 110), rng.randrange(50, 110)
    image = Image.new("RGB", (w, h), rng.choice(["gray", "white", "black"]))
    draw = ImageDraw.Draw(image)
    for _ in range(rng.randrange(1, 4)):
        kind = label if rng.random() < 0.8 else rng.randrange(len(NAMES))
        colour, shape = NAMES[kind].split()
        x, y, side = rng.randrange(w - 15), rng.randrange(h - 15), rng.randrange(12, 40)
        (draw.ellipse if shape == "circle" else draw.rectangle)([x, y, x + side, y + side], fill=colour)
    file = io.BytesIO()
    image.save(file, "png")
    return file.getvalue()


def caption(label):
    words = [NAMES[label], "a", "left", "of", "two", "large", "photo", "small", *COLOURS]
    return " ".join(rng.choice(words) for _ in range(rng.choice([2, 5, 30])))


def shards(folder, rows, extension):
    """Rows of (key, image, text), in two shards."""
    folder.mkdir(parents=True)
    half = (len(rows) + 1) // 2
    for k, part in enumerate((rows[:half], rows[half:])):
        with tarfile.open(folder / f"{k}.tar", "w") as tar:
            for key, image, text in part:
                for name, data in ((f"{key}.png", image), (f"{key}.{extension}", text.encode())):
                    info = tarfile.TarInfo(name)
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
    (folder / "nshards.txt").write_text("2")


clip = CLIPModel.from_pretrained(root / "configs/demo/clip", dtype=torch.float32).eval()
tokenizer = CLIPTokenizer.from_pretrained(root / "configs/demo/clip")


def texts(rows):
    ids = tokenizer(rows, padding="max_length", max_length=CONTEXT, truncation=True, return_tensors="pt").input_ids
    return clip.text_projection(clip.text_model(input_ids=ids).pooler_output)


def pixels(data):
    image = Image.open(io.BytesIO(data)).convert("RGB")
    w, h = image.size
    nw, nh = (SIDE, int(SIDE * h / w)) if w <= h else (int(SIDE * w / h), SIDE)
    image = image.resize((nw, nh), Image.BICUBIC)
    left, top = round((nw - SIDE) / 2), round((nh - SIDE) / 2)
    return to_tensor(image.crop((left, top, left + SIDE, top + SIDE)))


normalised = lambda x: (x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
images = lambda x: clip.visual_projection(clip.vision_model(pixel_values=x).pooler_output)

labels = dict(train=[rng.randrange(8) for _ in range(40)], test=[rng.randrange(8) for _ in range(24)])
raw = {}
for split, of in labels.items():
    files = [drawn(label) for label in of]
    rows = [(f"s{i:07d}", data, str(label)) for i, (data, label) in enumerate(zip(files, of))]
    shards(out / "wds" / split, rows, "cls")
    raw[split] = torch.stack([pixels(data) for data in files])
    if split == "test":
        captions = [[caption(label) for _ in range(rng.randint(1, 3))] for label in of]
        shards(out / "retrieval/test", [(k, d, "\n".join(c)) for (k, d, _), c in zip(rows, captions)], "txt")
(out / "wds/classnames.txt").write_text("\n".join(NAMES))
(out / "wds/zeroshot_classification_templates.txt").write_text("\n".join(TEMPLATES))
(out / "retrieval/dataset_type.txt").write_text("retrieval")
y = torch.tensor(labels["test"])


def zero_shot(image):
    prompts = [[t.replace("{c}", name) for t in TEMPLATES] for name in NAMES]
    classes = torch.stack([F.normalize(F.normalize(texts(p), dim=-1).mean(0), dim=0) for p in prompts])
    logits = 100 * F.normalize(image, dim=-1) @ classes.T
    top = logits.topk(5).indices
    recalls = [(top[y == c, 0] == c).float().mean().item() for c in sorted(set(y.tolist()))]
    metrics = dict(
        acc1=(top[:, 0] == y).float().mean().item(),
        acc5=(top == y[:, None]).any(1).float().mean().item(),
        mean_per_class_recall=sum(recalls) / len(recalls),
    )
    return dict(metrics=metrics, top5=top.tolist(), logits=[[float(f"{v:.7g}") for v in row] for row in logits.tolist()])


def retrieval(image, cut):
    flat = [c if cut is None else c[:cut] for of in captions for c in of]
    owner = torch.tensor([i for i, of in enumerate(captions) for _ in of])
    scores = F.normalize(texts(flat), dim=-1) @ F.normalize(image, dim=-1).T
    metrics = {}
    for k in (1, 5, 10):
        metrics[f"image_retrieval_recall@{k}"] = (scores.topk(k).indices == owner[:, None]).any(1).float().mean().item()
        hit = owner[scores.T.topk(k).indices] == torch.arange(len(captions))[:, None]
        metrics[f"text_retrieval_recall@{k}"] = hit.any(1).float().mean().item()
    return metrics


def linear_probe(train, test):
    """The optimum of cross-entropy + l2 / 2 |W|^2, the bias free, in float64."""
    extended = lambda x: torch.cat([F.normalize(x, dim=-1).double(), torch.ones(len(x), 1, dtype=torch.float64)], 1)
    w = torch.zeros(train.shape[1] + 1, len(NAMES), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([w], max_iter=5000, tolerance_grad=1e-10, tolerance_change=1e-15, line_search_fn="strong_wolfe")

    def objective():
        optimiser.zero_grad()
        loss = F.cross_entropy(extended(train) @ w, torch.tensor(labels["train"])) + L2 / 2 * (w[:-1] ** 2).sum()
        loss.backward()
        return loss

    optimiser.step(objective)
    scores = (extended(test) @ w).detach()
    return dict(l2=L2, lp_objective=objective().item(), lp_acc1=(scores.argmax(-1) == y).float().mean().item())


with torch.inference_mode():
    embedded = {split: images(normalised(x)) for split, x in raw.items()}
    unnormalised = images(raw["test"])
    expected = dict(
        labels=labels["test"],
        zero_shot=zero_shot(embedded["test"]),
        retrieval={"clip-benchmark": retrieval(embedded["test"], None), "kuea-release": retrieval(unnormalised, 77)},
    )
expected["linear_probe"] = linear_probe(*(embedded[split].clone() for split in ("train", "test")))
(out / "expected.json").write_text(json.dumps(expected))
print(expected["zero_shot"]["metrics"], expected["retrieval"], expected["linear_probe"])
