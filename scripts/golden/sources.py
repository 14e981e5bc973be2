"""Goldens of the image sources: the order in which torchvision's ImageFolder lists a tree, and tars written and indexed by Python's
tarfile.

  sources.py OUT        (needs torchvision)

OUT/image-folder.json  {files: created in this order, expected: relative paths in ImageFolder's order}
OUT/*.tar              the same members in three formats
OUT/tars.json          for each tar its regular files: path, offset of the data, size
"""

import io, json, os, random, sys, tarfile, tempfile
from torchvision.datasets.folder import DatasetFolder, IMG_EXTENSIONS

FILES = [
    "n02/b.JPEG",
    "n02/a.jpg",
    "n02/B.png",
    "n02/10.jpeg",
    "n02/9.jpeg",
    "n01/z.webp",
    "n01/sub/a.jpg",
    "n01/sub-2/a.jpg",
    "n01/sub/deeper/c.JPG",
    "n01/a.ppm",
    "n01/notes.txt",
    "n01/b.gif",
    "n01/c.tiff",
    "n01/jpg",
    "N03/x.BMP",
    "N03/x.Pgm",
    "zebra crossing/é.jpg",
    "zebra crossing/e.jpg",
    "zebra crossing/\U0001f993.jpg",
    "zebra crossing/ｆ.jpg",
    "n10/a.tif",
    "n9/a.jpg",
]

MEMBERS = [
    ("000.jpg", 700),
    ("000.txt", 12),
    ("001.PNG", 513),
    ("001.cls", 1),
    ("folder/002.seg.png", 100),
    ("folder/002.jpg", 512),
    ("folder/002.json", 0),
    ("folder/" + "long-" * 28 + "/003.webp", 1500),
    ("x" * 120 + ".jpeg", 30),
    ("__meta__.json", 9),
    ("folder/.hidden.jpg", 5),
    ("noextension", 4),
    ("004.txt", 3),
    ("naïve.jpg", 20),
]


def main(out):
    os.makedirs(out, exist_ok=True)
    with tempfile.TemporaryDirectory() as root:
        shuffled = random.Random(0).sample(FILES, len(FILES))
        for name in shuffled:
            path = os.path.join(root, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            open(path, "w").close()
        listed = DatasetFolder(root, loader=None, extensions=IMG_EXTENSIONS)
        expected = [os.path.relpath(path, root) for path, _ in listed.samples]
    with open(f"{out}/image-folder.json", "w") as f:
        json.dump(dict(files=shuffled, expected=expected), f, indent=1)

    tars = {}
    for name, format in (("gnu", tarfile.GNU_FORMAT), ("pax", tarfile.PAX_FORMAT), ("ustar", tarfile.USTAR_FORMAT)):
        path = f"{out}/{name}.tar"
        with tarfile.open(path, "w", format=format) as tar:
            tar.addfile(directory("folder"))
            for i, (member, size) in enumerate(MEMBERS):
                if format == tarfile.USTAR_FORMAT and member.startswith("xxx"):
                    continue
                info = tarfile.TarInfo(member)
                info.size = size
                tar.addfile(info, io.BytesIO(bytes([65 + i]) * size))
            link = tarfile.TarInfo("005.jpg")
            link.type, link.linkname = tarfile.SYMTYPE, "000.jpg"
            tar.addfile(link)
        with tarfile.open(path) as tar:
            tars[name] = [dict(path=m.name, offset=m.offset_data, size=m.size) for m in tar if m.isreg()]
    with open(f"{out}/tars.json", "w") as f:
        json.dump(tars, f, indent=1)


def directory(name):
    info = tarfile.TarInfo(name)
    info.type = tarfile.DIRTYPE
    return info


main(sys.argv[1])
