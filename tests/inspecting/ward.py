"""A folder with one of each kind of damage among healthy images, and a folder of healthy ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

SIDE = 64
NUM_HEALTHY = 40


def healthy(number: int, height: int = SIDE, width: int = SIDE) -> Image.Image:
    """Coloured shapes with edges and some noise, others for each number."""
    random = np.random.default_rng(number)
    pixels = np.kron(random.integers(0, 200, (8, 8, 3)), np.ones((8, 8, 1)))[:SIDE, :SIDE]
    pixels = pixels + random.integers(0, 50, pixels.shape)
    return Image.fromarray(pixels.astype(np.uint8)).resize(
        (width, height), Image.Resampling.NEAREST
    )


def build_healthy(root: Path, count: int = NUM_HEALTHY) -> Path:
    """Two classes in two splits, with nothing to be found."""
    for number in range(count):
        split = "test" if number % 4 == 0 else "train"
        folder = root / split / "ab"[number % 8 < 4]
        folder.mkdir(parents=True, exist_ok=True)
        healthy(number).save(folder / f"{number:02d}.png")
    return root


def build_ward(root: Path) -> tuple[Path, dict[str, set[str]]]:
    """A folder with damages; returns it, and the names of the images of each kind of finding."""
    build_healthy(root)
    train = root / "train"
    (train / "c").mkdir()
    (root / "test/d").mkdir()
    whole = (train / "b/01.png").read_bytes()
    (train / "a/broken.png").write_bytes(whole[:300])
    (train / "a/empty.jpg").write_bytes(b"")
    (train / "a/raw.CR2").write_bytes(b"II*\0")
    (train / "b/copy.png").write_bytes(whole)
    (train / "a/copy-elsewhere.png").write_bytes(whole)
    (root / "test/b/copy.png").write_bytes(whole)
    on_its_side = healthy(2).transpose(Image.Transpose.ROTATE_90)
    on_its_side.save(root / "test/b/turned.jpg", quality=90)
    Image.new("RGB", (SIDE, SIDE), (90, 120, 40)).save(train / "a/blank.png")
    random = np.random.default_rng(0)
    dim = random.integers(0, 30, (SIDE, SIDE, 3), dtype=np.uint8)
    Image.fromarray(dim).save(train / "a/dark.png")
    photo = healthy(100, 256, 256).filter(ImageFilter.GaussianBlur(12))
    photo.save(train / "a/blurred.png")
    healthy(101, 20, 24).save(train / "a/small.png")
    healthy(102, 64, 300).save(train / "a/long.png")
    frames = [healthy(number) for number in (103, 104)]
    frames[0].save(train / "a/moving.gif", save_all=True, append_images=frames[1:])
    exif = Image.Exif()
    exif[0x0112] = 6
    healthy(105).save(train / "a/turned.jpg", exif=exif)
    healthy(106).convert("L").save(train / "a/grey.png")
    wide = random.integers(0, 65_536, (SIDE, SIDE), dtype=np.uint16)
    Image.fromarray(wide).save(train / "a/wide.png")
    healthy(107).convert("CMYK").save(train / "a/print.jpg")
    healthy(108).convert("RGBA").save(train / "a/clear.png")
    healthy(109).convert("P").save(train / "a/palette.png")
    healthy(110).save(train / "c/only.png")
    healthy(111).save(root / "test/d/only.png")
    a = "train/a/"
    return root, {
        "unreadable": {a + "broken.png", a + "empty.jpg"},
        "in-two-splits": {"test/b/copy.png", "test/b/turned.jpg"},
        "two-labels": {"train/b/01.png", "train/b/copy.png", "test/b/copy.png"},
        "class-not-in-train": {"d"},
        "class-not-in-test": {"c"},
        "unsupported": {a + "raw.CR2"},
        "duplicate": {"train/b/01.png", "train/b/copy.png"},
        "blank": {a + "blank.png"},
        "dark": {a + "dark.png"},
        "blurred": {a + "blurred.png"},
        "small": {a + "small.png"},
        "long": {a + "long.png"},
        "animated": {a + "moving.gif"},
        "exif-turned": {a + "turned.jpg"},
        "grey": {a + "grey.png", a + "wide.png"},
        "16-bit": {a + "wide.png"},
        "cmyk": {a + "print.jpg"},
        "transparent": {a + "clear.png"},
        "palette": {a + "palette.png", a + "moving.gif"},
    }
