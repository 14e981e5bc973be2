"""Goldens of LLaVA's image processing: what Pillow and transformers' CLIPImageProcessor (on Pillow) make of the files of
test/golden/pixels.

  llava_images.py PIXELS OUT      (needs numpy, Pillow, transformers)

OUT/images.json           versions, and for each file SHA-256 of uint8 [3, S, S]: padded at S = 336, cropped at S = 224
OUT/padded-28.bin.gz      uint8 [files, 3, 28, 28], padded, in images.json's order

"Padded" pastes the image after convert("RGB") into a square of its longer side, of colour (122, 116, 104), at (longer - shorter) // 2, and
hands that to the processor; "cropped" hands it the image. Its pixel_values are taken back to bytes, which they must be exactly.
"""

import gzip, hashlib, json, os, sys
import numpy as np
import PIL, transformers
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil


def padded(image):
    side = max(image.size)
    square = Image.new("RGB", (side, side), (122, 116, 104))
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


def processed(image, size):
    processor = CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size={"height": size, "width": size})
    values = np.asarray(processor(image, return_tensors="np")["pixel_values"][0], dtype=np.float64)
    mean, std = (np.array(v).reshape(3, 1, 1) for v in (processor.image_mean, processor.image_std))
    scaled = (values * std + mean) * 255
    levels = np.rint(scaled)
    assert np.abs(scaled - levels).max() < 1e-3, np.abs(scaled - levels).max()
    return levels.astype(np.uint8).tobytes()


def main(pixels, out):
    listed, small = [], b""
    for case in json.load(open(f"{pixels}/expected.json"))["cases"]:
        with Image.open(f"{pixels}/inputs/{case['file']}") as opened:
            image = opened.convert("RGB")
        small += processed(padded(image), 28)
        listed.append(
            dict(
                file=case["file"],
                padded336=hashlib.sha256(processed(padded(image), 336)).hexdigest(),
                cropped224=hashlib.sha256(processed(image, 224)).hexdigest(),
            )
        )
    with open(f"{out}/images.json", "w") as f:
        f.write(
            json.dumps(dict(versions=dict(pillow=PIL.__version__, transformers=transformers.__version__), files=listed), indent=1) + "\n"
        )
    with open(f"{out}/padded-28.bin.gz", "wb") as f:
        f.write(gzip.compress(small, 9, mtime=0))


main(*sys.argv[1:])
