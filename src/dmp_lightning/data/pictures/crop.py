"""Images cut to squares as for ADM (Dhariwal & Nichol 2021) and DiT, on whose crops their numbers rest."""

from PIL import Image

CROP = "ADM centre crop"

LONG = 16
"""Of a picture more than so many times as long as wide, the ends are cut off first: resized, they fill any memory."""


def centre_crop(image: Image.Image, size: int) -> Image.Image:
    """The central square of an image, `size` pixels wide.

    The image is halved by averaging blocks of 2x2 pixels as long as its shorter side stays at least `size`, then
    resized bicubically until that side is `size`, and cut in the middle.
    """
    shorter = min(image.size)
    if max(image.size) > LONG * shorter:
        left, top = (max(side - LONG * shorter, 0) // 2 for side in image.size)
        image = image.crop((left, top, image.width - left, image.height - top))
    while min(image.size) >= 2 * size:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    scale = size / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return image.crop((left, top, left + size, top + size))
