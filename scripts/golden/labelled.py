"""Goldens of the data with answers: drawn masks by the rules of COCO-Stuff patch probing in torch and Pillow, class folders by
torchvision's ImageFolder, small sets in CLIP_benchmark's webdataset layout, NumPy's files.

  labelled.py OUT        (needs torchvision; deterministic)

OUT/masks/{images,masks}/  drawn pictures and masks of odd sides
OUT/masks/expected/        SIZE-NAME.png: the centre square by Pillow's BILINEAR at SIZE
OUT/masks.json             for each size, patch and name: classes of each patch (union) and of the image (global-union)
OUT/class-folders.json     {files, classes, samples: [[path, label]]} of torchvision's ImageFolder
OUT/wds, OUT/multilabel, OUT/retrieval   sets with two shards
OUT/wds.json               keys, labels, marks, names, templates, captions and prompts as Python reads them
"""

import io, json, os, random, shutil, sys, tarfile, tempfile
import numpy as np
import torch
from PIL import Image, ImageDraw
from torchvision.datasets.folder import IMG_EXTENSIONS, DatasetFolder

SIDES = dict(wide=(98, 61), high=(45, 80), small=(19, 23), square=(64, 64))
SHAPES = [(56, 14), (32, 16), (48, 12)]
NAMES = ["tench", "", "crème brûlée", "missile", "missile"]
TEMPLATES = ["a photo of a {c}.", "art of {c}, and nothing else!"]
CAPTIONS = [
    ["a red bus", "a small bus on the left"],
    ["one caption, with a comma", "", "snow!\\nand rain"],
    ["ünïcode   and spaces "],
    ["word " * 90],
]


def drawn(name, side):
    """A picture, and a mask of shapes in classes that reach the ends of the range, on unlabeled ground."""
    rng = random.Random(name)
    w, h = side
    pixels = np.random.default_rng(len(name)).integers(0, 256, (h, w, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    mask = Image.new("L", side, 255)
    paint = ImageDraw.Draw(mask)
    for pixel in [0, 90, 91, 181, 255, 17, 42]:
        x, y = rng.randrange(w), rng.randrange(h)
        box = [x - rng.randrange(3, 14), y - rng.randrange(3, 14), x + rng.randrange(3, 14), y + rng.randrange(3, 14)]
        draw.ellipse(box, fill=(pixel, 255 - pixel, 128))
        paint.ellipse(box, fill=pixel)
    return image, mask


def square(image):
    side = min(image.width, image.height)
    x, y = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((x, y, x + side, y + side))


def labels(mask, patch):
    classes = (torch.from_numpy(np.array(mask)).long() + 1) % 256
    patches = classes.unfold(0, patch, patch).unfold(1, patch, patch).flatten(2).flatten(0, 1)
    union = []
    for row in patches:
        found = torch.unique(row).tolist()
        union.append([c for c in found if c != 0] if len(found) > 1 else found)
    return dict(union=union, whole=torch.unique(patches).tolist())


def masks(out):
    for folder in ("images", "masks", "expected"):
        os.makedirs(f"{out}/masks/{folder}", exist_ok=True)
    expected = []
    for name, side in SIDES.items():
        image, mask = drawn(name, side)
        image.save(f"{out}/masks/images/{name}.png")
        mask.save(f"{out}/masks/masks/{name}.png")
        for size, patch in SHAPES:
            square(image).resize((size, size), Image.BILINEAR).save(f"{out}/masks/expected/{size}-{name}.png")
            reduced = labels(square(mask).resize((size, size), Image.NEAREST), patch)
            expected.append(dict(name=name, size=size, patch=patch, **reduced))
    json.dump(expected, open(f"{out}/masks.json", "w"))


def class_folders(out):
    files = ["n02/b.JPEG", "n02/a.jpg", "n02/B.png", "n01/z.webp", "n01/sub/a.jpg", "n01/sub-2/a.jpg", "Z/x.png", "n10/a.tif", "n9/a.jpg"]
    files += ["crème brûlée/e.jpg", "crème brûlée/é.jpg", "\U0001f993/1.jpg", "ｆ/1.jpg", "n01/notes.txt"]
    with tempfile.TemporaryDirectory() as root:
        for name in files:
            os.makedirs(os.path.dirname(f"{root}/{name}"), exist_ok=True)
            open(f"{root}/{name}", "w").close()
        listed = DatasetFolder(root, loader=None, extensions=IMG_EXTENSIONS)
        samples = [[os.path.relpath(path, root), label] for path, label in listed.samples]
        json.dump(dict(files=files, classes=listed.classes, samples=samples), open(f"{out}/class-folders.json", "w"), indent=1)


def picture(i):
    data = io.BytesIO()
    Image.new("RGB", (2, 2), (i, 255 - i, 3 * i)).save(data, "PNG")
    return data.getvalue()


def write_shards(root, split, samples, ext):
    """samples: [(key, bytes)], the later half in a second tar."""
    os.makedirs(f"{root}/{split}", exist_ok=True)
    half = (len(samples) + 1) // 2
    for k, part in enumerate((samples[:half], samples[half:])):
        with tarfile.open(f"{root}/{split}/{k}.tar", "w") as tar:
            for i, (key, answer) in enumerate(part):
                for name, data in ((f"{key}.png", picture(10 * k + i)), (f"{key}.{ext}", answer), (f"{key}.json", b"{}")):
                    if name.endswith("json") and i > 0:
                        continue
                    info = tarfile.TarInfo(name)
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
    open(f"{root}/{split}/nshards.txt", "w").write("2\n")


def npy(row):
    data = io.BytesIO()
    np.save(data, row)
    return data.getvalue()


def shards(out):
    keys = lambda n: [f"s{i:07d}" for i in range(n)]
    labels = [4, 0, 2, 2, 3]
    write_shards(f"{out}/wds", "test", [(key, str(label).encode()) for key, label in zip(keys(5), labels)], "cls")
    for root in ("wds", "multilabel"):
        os.makedirs(f"{out}/{root}", exist_ok=True)
        open(f"{out}/{root}/classnames.txt", "w", encoding="utf-8").write("\n".join(NAMES) + "\n")
        open(f"{out}/{root}/zeroshot_classification_templates.txt", "w").write("\n".join(TEMPLATES))
    types = [np.int64, np.uint8, np.float32, bool]
    marks = [[1, 0, 0, 1, 0], [0, 0, 0, 0, 0], [0, 1, 1, 0, 1], [1, 1, 1, 1, 1]]
    rows = [np.array(row, dtype=kind) for row, kind in zip(marks, types)]
    write_shards(f"{out}/multilabel", "test", [(key, npy(row)) for key, row in zip(keys(4), rows)], "npy")
    open(f"{out}/multilabel/dataset_type.txt", "w").write("multilabel\n")
    texts = ["\n".join(captions).encode() for captions in CAPTIONS]
    write_shards(f"{out}/retrieval", "test", list(zip(keys(4), texts)), "txt")
    open(f"{out}/retrieval/dataset_type.txt", "w").write("retrieval")
    read = lambda path: [line.strip() for line in open(path, encoding="utf-8").read().splitlines()]
    json.dump(
        dict(
            keys=keys(5),
            labels=labels,
            marks=marks,
            classes=read(f"{out}/wds/classnames.txt"),
            templates=read(f"{out}/wds/zeroshot_classification_templates.txt"),
            captions=[text.decode().splitlines() for text in texts],
            prompts=[[t.format(c=c) for t in TEMPLATES] for c in NAMES],
        ),
        open(f"{out}/wds.json", "w"),
        indent=1,
    )


def main(out):
    shutil.rmtree(out, ignore_errors=True)
    os.makedirs(out)
    masks(out)
    class_folders(out)
    shards(out)


main(sys.argv[1])
