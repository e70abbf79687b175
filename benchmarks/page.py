"""How fast the page of ``python -m aae_mx.explore`` decodes, in headless Chromium.

    python -m aae_mx.explore runs/swiss_roll_supervised
    python benchmarks/page.py runs/swiss_roll_supervised/explore.html

Moves the point round the plane and takes the time, in the page (performance.now), of decoding
alone and of a whole frame: drawing the plane, decoding, painting the picture. A screen of 60 Hz
has 16.7 ms for each. Needs the extra "dev" and Chromium.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import click
import numpy as np

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync"
).split()
# Each point on a circle of 0.6 of the plane's extent; the first few steps compile the code.
MEASURE = """([steps, warm]) => {
  const times = [];
  for (let i = 0; i < warm + steps; i++) {
    const angle = 2 * Math.PI * i / steps, radius = 0.6 * data.limit;
    cursor = [radius * Math.cos(angle), radius * Math.sin(angle)];
    const start = performance.now();
    decodePoint(cursor);
    const middle = performance.now();
    frame(middle);
    if (i >= warm) times.push([middle - start, performance.now() - middle]);
  }
  return times;
}"""


@click.command()
@click.argument("page", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--steps", default=300, show_default=True, type=click.IntRange(1), help="Moves.")
def main(page, steps):
    """Measure the page in the file PAGE."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise click.ClickException("Playwright is missing: pip install -e '.[dev]'") from error
    if chromium is None:
        raise click.ClickException(
            "there is no Chromium here (on Debian: apt-get install chromium)"
        )
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as profile:
        browser = playwright.chromium.launch_persistent_context(
            profile,
            executable_path=chromium,
            args=FLAGS,
            headless=True,
            viewport={"width": 1280, "height": 900},
        )
        # A busy machine starves a browser, and its numbers say little.
        browser.set_default_timeout(120_000)
        tab = browser.new_page()
        tab.goto(page.resolve().as_uri())
        tab.wait_for_selector("#picture[data-point]")
        times = np.array(tab.evaluate(MEASURE, [steps, 20]))
        version = tab.evaluate("navigator.userAgent").split("Chrome/")[1].split(" ")[0]
        browser.close()
    click.echo(f"Chromium {version}, {steps} moves")
    for name, column in zip(("decoding", "a whole frame"), times.T):
        click.echo(
            f"{name}: {np.median(column):.1f} ms (median), {np.quantile(column, 0.99):.1f} ms "
            f"(99 of 100 are faster), {column.max():.1f} ms (the slowest)"
        )


if __name__ == "__main__":
    main()
