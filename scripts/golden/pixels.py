"""Goldens of the image pipeline: drawn images in the formats and modes that real folders hold, and what Pillow and torchvision make of
them.

  pixels.py OUT        (needs numpy, Pillow, torchvision)

OUT/inputs/*           the encoded files
OUT/expected.json      versions, and for each file its size, Pillow's mode, SHA-256 of convert("RGB")'s bytes (HWC), SHA-256 of the 224 crop
OUT/crops-64.bin.gz    uint8 [cases, 3, 64, 64], in expected.json's order

A crop of side S is torchvision's Resize(S, BICUBIC) then CenterCrop(S) on the image after convert("RGB"), as CLIP's and the default image
loaders do. The pictures are drawn here.
"""

import gzip, hashlib, io, json, os, struct, sys
import numpy as np
import PIL, torchvision
from PIL import Image, ImageDraw, features
from torchvision import transforms as T


def picture(width, height, seed):
    """Smooth colour waves, some filled shapes with hard edges, and a patch of noise: low and high frequencies in every channel."""
    rng = np.random.RandomState(seed)
    y, x = np.mgrid[0:height, 0:width]
    u, v = x / max(width, 2), y / max(height, 2)
    waves = [0.5 + 0.5 * np.sin(2 * np.pi * (a * u + b * v) + c) for a, b, c in rng.uniform(0.5, 6, (3, 3))]
    image = Image.fromarray((np.stack(waves, -1) * 255).astype(np.uint8), "RGB")
    draw = ImageDraw.Draw(image)
    for _ in range(7):
        cx, cy, r = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(0.05, 0.3) * max(min(width, height), 8)
        colour = tuple(int(c) for c in rng.randint(0, 256, 3))
        (draw.ellipse if rng.rand() < 0.5 else draw.rectangle)([cx - r, cy - r / 2, cx + r, cy + r / 2], fill=colour)
    pixels = np.array(image)
    h, w = height // 4, width // 4
    pixels[h : 2 * h, w : 2 * w] = rng.randint(0, 256, (h, w, 3))
    return Image.fromarray(pixels, "RGB")


def alpha(width, height, seed):
    """Mostly opaque or clear, with a soft edge: fully transparent pixels keep colours that a decoder must not lose."""
    y, x = np.mgrid[0:height, 0:width]
    d = np.hypot(x - width * 0.4, y - height * 0.5) / min(width, height) + 0.01 * seed
    return Image.fromarray(np.clip((0.45 - d) * 1500, 0, 255).astype(np.uint8), "L")


def encode(image, format, **options):
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def jpeg(image, **options):
    return encode(image, "JPEG", **{"quality": 85, **options})


def png(image, **options):
    return encode(image, "PNG", **options)


def png_chunks(width, height, depth, colour, rows, extra=b""):
    """A PNG written by hand, for modes that Pillow reads and does not write. `rows` is uint8 [height, bytes a row]."""
    import zlib

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(raw, 9)) + chunk(b"IEND", b"")


def png16(width, height, seed, channels):
    """16 bits a sample; the low byte is not a copy of the high one."""
    rng = np.random.RandomState(seed)
    high = np.array(picture(width, height, seed)).astype(np.uint16)
    samples = {1: high[..., :1], 2: high[..., :2], 3: high, 4: np.concatenate([high, high[..., :1]], -1)}[channels]
    samples = samples * 256 + rng.randint(0, 4, samples.shape).astype(np.uint16) * 70
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    return png_chunks(width, height, 16, colour, samples.astype(">u2").reshape(height, -1).view(np.uint8))


def cmyk_jpeg(image, ycck):
    """Adobe CMYK as Photoshop writes it: inverted, as CMYK or as YCCK (transform 2)."""
    rgb = np.array(image).astype(int)
    k = 255 - rgb.max(-1, keepdims=True)
    cmyk = np.concatenate([255 - rgb - k, k // 2], -1).clip(0, 255).astype(np.uint8)
    if not ycck:
        return jpeg(Image.fromarray(cmyk, "CMYK"))
    # Pillow writes 255 - value and calls it CMYK: hand it the YCbCr of the inverted ink, then correct the Adobe marker.
    ycc = np.array(Image.fromarray(255 - cmyk[..., :3], "RGB").convert("YCbCr"))
    stored = np.concatenate([ycc, 255 - cmyk[..., 3:]], -1)
    data = bytearray(jpeg(Image.fromarray(255 - stored, "CMYK")))
    marker = data.index(b"\xff\xee\x00\x0eAdobe")
    data[marker + 15] = 2
    return bytes(data)


def without_adobe(data):
    marker = data.index(b"\xff\xee\x00\x0eAdobe")
    return data[:marker] + data[marker + 16 :]


def wide_gamut_profile():
    """A minimal ICC v2 matrix profile: swapped-looking wide primaries and gamma 1.8, so that a decoder that applies it is caught."""

    def s15(v):
        return struct.pack(">i", int(round(v * 65536)))

    def xyz(*v):
        return b"XYZ \0\0\0\0" + b"".join(s15(c) for c in v)

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, int(1.8 * 256)) + b"\0\0"
    text = b"text\0\0\0\0none\0\0\0\0"
    desc = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"wide\0" + bytes(8) + struct.pack(">HB", 0, 0) + bytes(67)
    desc += bytes(-len(desc) % 4)
    tags = [
        (b"desc", desc),
        (b"cprt", text),
        (b"wtpt", xyz(0.9642, 1, 0.8249)),
        (b"rXYZ", xyz(0.7977, 0.2880, 0)),
        (b"gXYZ", xyz(0.1352, 0.7119, 0)),
        (b"bXYZ", xyz(0.0313, 0.0001, 0.8249)),
        (b"rTRC", curve),
        (b"gTRC", curve),
        (b"bTRC", curve),
    ]
    table, body, offset = b"", b"", 128 + 4 + 12 * len(tags)
    for name, data in tags:
        table += name + struct.pack(">II", offset + len(body), len(data))
        body += data
    size = offset + len(body)
    header = struct.pack(">I4sI4s4s4s", size, b"none", 0x02100000, b"mntr", b"RGB ", b"XYZ ") + struct.pack(">6H", 2024, 1, 1, 0, 0, 0)
    header += b"acsp" + bytes(28) + s15(0.9642) + s15(1) + s15(0.8249)
    header += bytes(128 - len(header))
    return header + struct.pack(">I", len(tags)) + table + body


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def cases():
    yield "jpeg-420.jpg", jpeg(picture(500, 375, 1), subsampling="4:2:0")
    yield "jpeg-422.jpg", jpeg(picture(375, 251, 2), subsampling="4:2:2")
    yield "jpeg-444-portrait.jpg", jpeg(picture(233, 401, 3), subsampling="4:4:4")
    yield "jpeg-411.jpg", jpeg(picture(319, 240, 4), subsampling="4:1:1")
    yield "jpeg-progressive.jpg", jpeg(picture(333, 250, 5), progressive=True)
    yield "jpeg-restart.jpg", jpeg(picture(217, 190, 6), restart_marker_rows=1)
    yield "jpeg-rgb.jpg", jpeg(picture(200, 170, 7), keep_rgb=True)
    yield "jpeg-grey.jpg", jpeg(picture(300, 281, 8).convert("L"))
    yield "jpeg-cmyk.jpg", cmyk_jpeg(picture(211, 260, 9), ycck=False)
    yield "jpeg-cmyk-no-adobe.jpg", without_adobe(cmyk_jpeg(picture(130, 101, 10), ycck=False))
    yield "jpeg-ycck.jpg", cmyk_jpeg(picture(240, 199, 11), ycck=True)
    yield "jpeg-exif-rotated.jpg", jpeg(picture(260, 170, 12), exif=exif(6))
    yield "jpeg-icc.jpg", jpeg(picture(240, 180, 13), icc_profile=wide_gamut_profile())
    yield "jpeg-trailing-junk.jpg", jpeg(picture(180, 141, 14)) + b"junk after the end \xff\xd8\xff" * 20
    yield "jpeg-extraneous-bytes.jpg", extraneous(jpeg(picture(160, 121, 15)))
    yield "jpeg-wide.jpg", jpeg(picture(1400, 45, 16))
    yield "jpeg-tall.jpg", jpeg(picture(33, 1100, 17))
    yield "jpeg-large.jpg", jpeg(picture(1600, 1201, 18), quality=40)
    yield "png-named.jpg", png(picture(120, 91, 19))
    yield "png-exact-224.png", png(picture(224, 224, 20).quantize(64).convert("RGB"))
    yield "png-upscaled.png", png(picture(41, 30, 21))
    yield "png-one-pixel.png", png(picture(1, 1, 22))
    yield "png-three-by-two.png", png(picture(3, 2, 23))
    rgba = picture(150, 112, 24)
    rgba.putalpha(alpha(150, 112, 24))
    yield "png-rgba.png", png(rgba)
    la = picture(131, 140, 25).convert("L")
    la.putalpha(alpha(131, 140, 25))
    yield "png-la.png", png(la)
    yield "png-palette.png", png(picture(201, 180, 26).quantize(97))
    yield "png-palette-4bit.png", png(picture(171, 130, 27).quantize(13), bits=4)
    yield "png-palette-transparent.png", png(picture(150, 160, 28).quantize(40), transparency=bytes([0, 128, 255, 7]))
    yield "png-rgb-transparent.png", png(picture(90, 70, 29), transparency=picture(90, 70, 29).getpixel((5, 5)))
    yield "png-grey-transparent.png", png(picture(90, 99, 30).convert("L"), transparency=picture(90, 99, 30).convert("L").getpixel((5, 5)))
    yield "png-1bit.png", png(picture(210, 150, 31).convert("1"))
    grey2 = np.random.RandomState(32).randint(0, 256, (77, 25)).astype(np.uint8)
    yield "png-2bit-grey.png", png_chunks(100, 77, 2, 0, grey2)
    yield "png-16bit-grey.png", png16(110, 90, 33, 1)
    yield "png-16bit-la.png", png16(70, 60, 34, 2)
    yield "png-16bit-rgb.png", png16(70, 61, 35, 3)
    yield "png-16bit-rgba.png", png16(60, 71, 36, 4)
    gama = struct.pack(">I4sI", 4, b"gAMA", 100000)
    import zlib

    gama += struct.pack(">I", zlib.crc32(gama[4:]))
    yield "png-gamma.png", png_chunks(80, 80, 8, 2, np.array(picture(80, 80, 37)).reshape(80, -1), gama)
    yield "png-icc.png", png(picture(80, 95, 38), icc_profile=wide_gamut_profile())
    yield "webp-lossy.webp", encode(picture(260, 195, 39), "WEBP", quality=80)
    yield "webp-lossless.webp", encode(picture(100, 75, 40), "WEBP", lossless=True)
    webp = picture(150, 131, 41)
    webp.putalpha(alpha(150, 131, 41))
    yield "webp-alpha.webp", encode(webp, "WEBP", quality=80)
    yield "webp-lossless-alpha.webp", encode(rgba, "WEBP", lossless=True, exact=True)
    yield "gif.gif", encode(picture(160, 120, 42).quantize(60), "GIF")
    yield "gif-transparent.gif", encode(picture(120, 111, 43).quantize(30), "GIF", transparency=3)
    frames = [picture(90, 80, s).quantize(20) for s in (44, 45)]
    yield "gif-animated.gif", encode(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=50)
    yield "tiff-rgb.tif", encode(picture(90, 121, 46), "TIFF", compression="tiff_lzw")
    yield "tiff-grey.tif", encode(picture(120, 80, 47).convert("L"), "TIFF")
    yield "tiff-icc.tif", encode(picture(60, 80, 48), "TIFF", icc_profile=wide_gamut_profile(), compression="tiff_adobe_deflate")


def extraneous(data):
    """Zero bytes before a marker: libjpeg warns and goes on."""
    at = data.index(b"\xff\xda")
    return data[:at] + b"\0" * 9 + data[at:]


def main(out):
    os.makedirs(f"{out}/inputs", exist_ok=True)
    crop = {s: T.Compose([T.Resize(s, interpolation=T.InterpolationMode.BICUBIC), T.CenterCrop(s)]) for s in (64, 224)}
    listed, crops = [], b""
    for name, data in cases():
        with open(f"{out}/inputs/{name}", "wb") as f:
            f.write(data)
        image = Image.open(io.BytesIO(data))
        mode, rgb = image.mode, image.convert("RGB")
        planar = {s: np.array(t(rgb)).transpose(2, 0, 1).tobytes() for s, t in crop.items()}
        crops += planar[64]
        listed.append(
            dict(
                file=name,
                mode=mode,
                width=image.width,
                height=image.height,
                rgb=hashlib.sha256(rgb.tobytes()).hexdigest(),
                crop224=hashlib.sha256(planar[224]).hexdigest(),
            )
        )
    versions = dict(
        pillow=PIL.__version__,
        torchvision=torchvision.__version__.split("+")[0],
        jpeg=features.version("jpg"),
        webp=features.version("webp"),
    )
    with open(f"{out}/expected.json", "w") as f:
        f.write(json.dumps(dict(versions=versions, cases=listed), indent=1) + "\n")
    with open(f"{out}/crops-64.bin.gz", "wb") as f:
        f.write(gzip.compress(crops, 9, mtime=0))


main(sys.argv[1])
