"""Goldens of the demo's models: transformers' fp32 embeddings of four drawn scenes, resized by Pillow.

node -e "import('./dist/lib/demo/scenes.js').then((s) => s.writeScenes('test/golden/demo', 4, 9, 96))"
python scripts/golden/demo_embeddings.py
"""

import json
import torch
from PIL import Image
from torchvision.transforms.functional import normalize, to_tensor
from transformers import CLIPModel, Dinov2WithRegistersModel

images = [Image.open(f"test/golden/demo/scene-{i:06d}.jpg").convert("RGB").resize((64, 64), Image.BICUBIC) for i in range(4)]
clip = CLIPModel.from_pretrained("configs/demo/clip", dtype=torch.float32)
dinov2 = Dinov2WithRegistersModel.from_pretrained("configs/demo/dinov2", dtype=torch.float32)
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
pixels = torch.stack([normalize(to_tensor(image), MEAN, STD) for image in images])
with torch.no_grad():
    f = clip.visual_projection(clip.vision_model(pixel_values=pixels).pooler_output)
    g = dinov2(pixel_values=pixels).last_hidden_state[:, 0]
rows = lambda x: [[float(f"{v:.7g}") for v in row] for row in x.tolist()]
json.dump({"clip": rows(f), "dinov2": rows(g)}, open("test/golden/demo/embeddings.json", "w"))
