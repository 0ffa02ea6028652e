"""What others feed images with: the same files, cut, resized, mirrored and batched by torch, tf.data and grain.

Each function gives an endless iterator of float32 batches [B, S, S, 3]. `images` are files where it holds paths, or
uint8 images [H, W, 3] in memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cv2
import numpy as np

Images = Sequence[Any]
AREA, ASPECT = (0.05, 1.0), (0.75, 1.33)


def cut(image: np.ndarray, size: int, random: np.random.Generator) -> np.ndarray:
    """A random part of an image, resized and mirrored by chance: float32 [S, S, 3] in [-1, 1]."""
    height, width = image.shape[:2]
    for _ in range(10):
        ratio = random.uniform(*ASPECT)
        tall = round(math.sqrt(random.uniform(*AREA) * height * width / ratio))
        wide = round(tall * ratio)
        if 0 < tall <= height and 0 < wide <= width:
            break
    else:
        tall, wide = height, width
    y, x = random.integers(height - tall + 1), random.integers(width - wide + 1)
    view = cv2.resize(image[y : y + tall, x : x + wide].astype(np.float32), (size, size))
    return (view[:, ::-1] if random.random() < 0.5 else view) * np.float32(2 / 255) - np.float32(1)


def read(image: Any) -> np.ndarray:
    """The pixels of a file, or of an image that is in memory already."""
    return cv2.imread(image, cv2.IMREAD_COLOR_RGB) if isinstance(image, str) else image


class Examples:
    """A data set in torch's and grain's sense: views by number."""

    def __init__(self, images: Images, size: int) -> None:
        self.images, self.size = images, size

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> np.ndarray:
        """One view."""
        return cut(read(self.images[index]), self.size, np.random.default_rng())


def by_torch(images: Images, size: int, batch: int, workers: int) -> Iterator[Any]:
    """`torch.utils.data.DataLoader`, with as many processes as there are processors."""
    from torch.utils.data import DataLoader

    torch_loader: Any = DataLoader(
        Examples(images, size), batch, shuffle=True, num_workers=workers, drop_last=True, persistent_workers=True
    )
    while True:
        yield from torch_loader


def by_tf_data(images: Images, size: int, batch: int, workers: int) -> Iterator[Any]:
    """`tf.data`, whose JPEG decoder leaves out what isn't in the crop."""
    import tensorflow as tf

    del workers  # as many as it finds best

    def box(shape: Any) -> Any:
        begin, extent, _ = tf.image.sample_distorted_bounding_box(
            shape, tf.zeros((1, 0, 4)), area_range=AREA, aspect_ratio_range=ASPECT, use_image_if_no_bounding_boxes=True
        )
        return begin, extent

    def from_file(path: Any) -> Any:
        encoded = tf.io.read_file(path)
        begin, extent = box(tf.io.extract_jpeg_shape(encoded))
        return tf.io.decode_and_crop_jpeg(encoded, tf.concat([begin[:2], extent[:2]], 0), channels=3)

    def from_memory(image: Any) -> Any:
        return tf.slice(image, *box(tf.shape(image)))

    def view(image: Any) -> Any:
        resized = tf.image.resize(image, (size, size))
        return tf.image.random_flip_left_right(resized) * (2 / 255) - 1

    is_file = isinstance(images[0], str)
    source = tf.data.Dataset.from_tensor_slices(list(images) if is_file else np.asarray(images))
    source = source.shuffle(len(images)).repeat()
    made = source.map(lambda each: view((from_file if is_file else from_memory)(each)), tf.data.AUTOTUNE)
    yield from made.batch(batch).prefetch(tf.data.AUTOTUNE).as_numpy_iterator()


def by_grain(images: Images, size: int, batch: int, workers: int) -> Iterator[Any]:
    """`grain`, in threads: decoding and resizing release the interpreter."""
    import grain

    source = grain.MapDataset.source(Examples(images, size)).seed(0).shuffle().repeat()
    yield from source.to_iter_dataset(grain.ReadOptions(num_threads=workers, prefetch_buffer_size=4 * batch)).batch(
        batch
    )


PEERS: dict[str, Callable[[Images, int, int, int], Iterator[Any]]] = {
    "torch DataLoader": by_torch,
    "tf.data": by_tf_data,
    "grain": by_grain,
}
