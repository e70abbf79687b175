"""Larger images, in colour: emoji and drawings of Debian's packages, with convolutional networks.

    apt-get install fonts-noto-color-emoji tuxpaint-stamps-default
    python examples/larger_images.py --size 64  # --help lists its options

Makes a folder pictures/ with a sub-folder of each package's images, trains on it without labels
and leaves the run, with its figures, in runs/example_larger_images_64.
"""

from pathlib import Path

import click
from fontTools.ttLib import TTFont

import aae_mx
from aae_mx.commands.options import command
from aae_mx.errors import InputError
from aae_mx.report.figures import plot_run

FONT = "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"
STAMPS = "/usr/share/tuxpaint/stamps"
# Modifiers that give an emoji a skin tone: the same picture in another colour.
SKIN_TONES = range(0x1F3FB, 0x1F400)


def unpack_emoji(font, folder):
    """Write the bitmaps of a font's CBDT table as PNG files, each once and in one skin tone."""
    folder.mkdir(parents=True, exist_ok=True)
    font = TTFont(font)
    toned = ligatures_of(font, {font.getBestCmap()[code] for code in SKIN_TONES})
    glyphs = font["CBDT"].strikeData[0]
    contents = {glyphs[name].imageData: name for name in sorted(glyphs) if name not in toned}
    for content, name in contents.items():
        (folder / f"{name}.png").write_bytes(content)
    return len(contents)


def ligatures_of(font, glyphs):
    """The names of the glyphs that stand for sequences with one of ``glyphs`` in them."""
    found = set()
    for lookup in font["GSUB"].table.LookupList.Lookup:
        for table in lookup.SubTable:
            table = getattr(table, "ExtSubTable", table)
            for first, ligatures in getattr(table, "ligatures", {}).items():
                found |= {x.LigGlyph for x in ligatures if glyphs & {first, *x.Component}}
    return found


def link_stamps(stamps, folder):
    """Links to the PNG files of a tree, all in one folder."""
    folder.mkdir(parents=True, exist_ok=True)
    files = sorted(Path(stamps).rglob("*.png"))
    for file in files:
        link = folder / "-".join(file.relative_to(stamps).parts)
        if not link.is_symlink():
            link.symlink_to(file)
    return len(files)


def main(size=64, pictures="pictures", font=FONT, stamps=STAMPS, out=None, **settings):
    for path in (font, stamps):
        if not Path(path).exists():
            raise InputError(f"{path} is not there; install its package, see --help")
    n_emoji = unpack_emoji(font, Path(pictures, "emoji"))
    n_stamps = link_stamps(stamps, Path(pictures, "stamps"))
    print(f"{pictures}: {n_emoji} emoji, {n_stamps} stamps")
    config = aae_mx.Config(images=str(pictures), image_size=size, **settings)
    model = aae_mx.fit(config, out or f"runs/example_larger_images_{size}")
    print(f"figures: {plot_run(model)}")


@command(help=__doc__)
@click.option("--size", default=64, show_default=True, help="Pixels a side: 28, 32, 64 or 128.")
@click.option("--epochs", type=int, help="Passes over all training images. [default: 40]")
@click.option("--out", help="The run. [default: runs/example_larger_images_SIZE]")
def program(**options):
    main(**options)


if __name__ == "__main__":
    program()
