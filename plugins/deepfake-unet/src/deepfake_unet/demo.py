"""``python -m deepfake_unet.demo``: a page in the browser that protects an image."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from PIL import Image

from deepfake_core import DeepfakeError, LoadedDetector, MissingExtra, load
from deepfake_core.protect.protectors import EPSILON, load_protector
from deepfake_unet import command


def build(detector: LoadedDetector) -> Any:
    """Build the page, a ``gradio.Blocks`` that is not launched yet.

    Args:
        detector: Detector that is a protector, too.

    Raises:
        MissingExtra: Gradio is not installed.
        DeepfakeError: The detector is not a protector.
    """
    try:
        import gradio
    except ModuleNotFoundError as error:
        raise MissingExtra("the demo", "deepfake-unet[demo]") from error
    load_protector(detector)

    def run(picture: Image.Image | None, epsilon: float) -> tuple[Image.Image | None, str]:
        if picture is None:
            return None, "Choose a picture."
        try:
            return protected(detector, picture, epsilon)
        except DeepfakeError as error:
            raise gradio.Error(str(error)) from error

    with gradio.Blocks(title="Protect a picture") as page:
        gradio.Markdown("# Protect a picture\nA small change that disturbs what would manipulate the faces in it.")
        with gradio.Row():
            given = gradio.Image(type="pil", label="Original")
            # The format is PNG, as a lossy format would change the pixels once more.
            shown = gradio.Image(type="pil", format="png", label="Protected")
        epsilon = gradio.Slider(0.004, 0.1, value=EPSILON, label="Largest change of a pixel (epsilon)")
        facts = gradio.Textbox(label="Against the original", interactive=False)
        gradio.Button("Protect", variant="primary").click(run, [given, epsilon], [shown, facts])
    return page


def protected(detector: LoadedDetector, picture: Image.Image, epsilon: float) -> tuple[Image.Image, str]:
    """Return a protected image, and a line of text about it.

    Args:
        detector: Detector that is a protector, too.
        picture: Image to protect.
        epsilon: Largest change of a pixel's channel, in units of the pixel range [0, 1].
    """
    image = detector.protect(picture, epsilon=epsilon)
    facts = image.info["protection"]
    place = f"{facts['faces']} face(s)" if facts["faces"] else "no face found, so the whole picture"
    stamp = " The weights are untrained: this protects nothing." if facts["weights"] == "untrained" else ""
    return image, f"{place}; PSNR {facts['psnr_db']:.1f} dB, SSIM {facts['ssim']:.3f}.{stamp}"


def main(
    model: Annotated[
        str, typer.Option(metavar="PROTECTOR", help="Protector: a name, a model file or the folder of a package.")
    ] = "unet",
    gpu: Annotated[bool, typer.Option("--gpu", help="Run on CUDA instead of the CPU.")] = False,
    share: Annotated[bool, typer.Option("--share", help="Give the page a public address on the internet.")] = False,
    port: Annotated[
        int | None, typer.Option(metavar="PORT", help="Port of the page; by default the first free one from 7860.")
    ] = None,
) -> None:
    """Protect pictures in the browser.

    Examples:
        python -m deepfake_unet.demo
        python -m deepfake_unet.demo --model runs/unet/model --port 7861
    """
    try:
        page = build(load(model, device="cuda" if gpu else "cpu"))
    except DeepfakeError as error:
        typer.echo(f"deepfake_unet.demo: {error}", err=True)
        raise typer.Exit(2) from error
    page.launch(share=share, server_port=port)


if __name__ == "__main__":
    command.run(main)
