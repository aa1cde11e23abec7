"""Pictures in the shape that a model takes: cropped as for ADM (Dhariwal & Nichol 2021) and DiT, grey or in colour."""

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from dmp_lightning.data.pictures.read import Picture
from dmp_lightning.user_error import UserError

CROP = "ADM centre crop"
ENLARGED = "enlarged"
MADE_GREY = "in colour and made grey"
REPEATED = "grey and repeated in three channels"

LONG = 16
"""The ends of a picture more than so many times as long as wide are cut off first: resized, they would fill memory."""


def fit_picture(picture: Picture, shape: tuple[int, int, int]) -> tuple[UInt8[Tensor, "C H W"], tuple[str, ...]]:
    """A picture in that shape, and notes on the changes, those of decoding included.

    A picture of that size stays as it is; of others it is the central square, see `centre_crop`.

    Args:
        shape: (C, H, W), C being 1 for grey, 3 for colour.

    Raises:
        UserError: it is of another size, and H is not W.
    """
    (channels, height, width), image, notes = shape, picture.image, list(picture.notes)
    mode = "L" if channels == 1 else "RGB"
    if image.mode == "L" and mode == "RGB":
        notes.append(REPEATED)
    elif image.mode == "RGB" and mode == "L" and _in_colour(image):
        notes.append(MADE_GREY)
    image = image.convert(mode)
    if image.size != (width, height):
        if height != width:
            raise UserError(f"it has {image.width} x {image.height} pixels, not {width} x {height}")
        if min(image.size) < height:
            notes.append(ENLARGED)
        image = centre_crop(image, height)
    return torch.from_numpy(np.array(image)).view(height, width, channels).permute(2, 0, 1), tuple(notes)


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


def _in_colour(image: Image.Image) -> bool:
    red, green, blue = (np.asarray(image.getchannel(channel)) for channel in "RGB")
    return not (np.array_equal(red, green) and np.array_equal(red, blue))
