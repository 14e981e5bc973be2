"""Goldens of the demo's models: transformers' fp32 embeddings of four drawn scenes.

  node -e "import('./dist/lib/data/scenes.js').then((s) => s.writeScenes('test/golden/demo', 4, 9, 96))"
  python scripts/golden/demo_embeddings.py
"""
import json
import torch
from PIL import Image
from transformers import CLIPImageProcessor, CLIPModel, Dinov2WithRegistersModel

images = [Image.open(f"test/golden/demo/scene-{i:06d}.jpg").convert("RGB") for i in range(4)]
clip = CLIPModel.from_pretrained("configs/demo/clip", dtype=torch.float32)
dinov2 = Dinov2WithRegistersModel.from_pretrained("configs/demo/dinov2", dtype=torch.float32)
pixels = CLIPImageProcessor.from_pretrained("configs/demo/clip")(images, return_tensors="pt").pixel_values
with torch.no_grad():
    f = clip.visual_projection(clip.vision_model(pixel_values=pixels).pooler_output)
    g = dinov2(pixel_values=pixels).last_hidden_state[:, 0]
rows = lambda x: [[float(f"{v:.7g}") for v in row] for row in x.tolist()]
json.dump({"clip": rows(f), "dinov2": rows(g)}, open("test/golden/demo/embeddings.json", "w"))
