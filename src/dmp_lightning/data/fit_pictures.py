"""Pictures cut and resized to what a model takes, and as many channels of them."""

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from dmp_lightning.data.crop import centre_crop
from dmp_lightning.data.pictures import Picture

ENLARGED = "enlarged"
MADE_GREY = "in colour and made grey"
REPEATED = "grey and repeated in three channels"


def fit_picture(picture: Picture, channels: int, size: int) -> tuple[UInt8[Tensor, "C S S"], tuple[str, ...]]:
    """The central square of a picture, `size` pixels wide, and what was done to it, decoding included.

    Args:
        channels: 1 for grey, 3 for colour: the set that it belongs to is of one kind.
    """
    image, notes = picture.image, list(picture.notes)
    mode = "L" if channels == 1 else "RGB"
    if image.mode == "L" and channels == 3:
        notes.append(REPEATED)
    elif image.mode == "RGB" and channels == 1 and _in_colour(image):
        notes.append(MADE_GREY)
    if min(image.size) < size:
        notes.append(ENLARGED)
    pixels = np.array(centre_crop(image.convert(mode), size))
    return torch.from_numpy(pixels).view(size, size, channels).permute(2, 0, 1), tuple(notes)


def _in_colour(image: Image.Image) -> bool:
    red, green, blue = (np.asarray(image.getchannel(channel)) for channel in "RGB")
    return not (np.array_equal(red, green) and np.array_equal(red, blue))
