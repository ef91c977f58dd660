"""Image messages <-> arrays: as they are, as JPEG or PNG, as depth; and what is known of a camera's lens. Knows no node."""

from __future__ import annotations

from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from defi_models.contract import ContractError
from defi_ros.bridge.convert import bytes_array, to_stamp
from defi_ros.bridge.lens import Lens

COMPRESSED = "/compressed"  # how image_transport names the topic of an image's compressed twin
JPEG_QUALITY = 90  # 12 times fewer bytes; a policy trained on raw images does not see the difference
_CHANNEL_ORDER: dict[str, slice] = {"rgb8": slice(None), "bgr8": slice(None, None, -1)}


def image_type(topic: str) -> type[Image] | type[CompressedImage]:
    """The type of message on a topic, by the custom of image_transport."""
    return CompressedImage if topic.endswith(COMPRESSED) else Image


def image_from(message: Image | CompressedImage) -> npt.NDArray[np.uint8]:
    """The pixels as uint8 RGB, shape (height, width, 3); of an Image a view of the message where its rows allow.

    Raises:
        ContractError: another encoding than rgb8 or bgr8, fewer bytes than the size says, or no picture in the bytes.
    """
    if isinstance(message, CompressedImage):
        return _decompressed(message)
    order = _CHANNEL_ORDER.get(message.encoding)
    if order is None:
        raise ContractError(
            f"image: got encoding {message.encoding!r}, expected one of {sorted(_CHANNEL_ORDER)}. "
            "Set the camera driver to rgb8."
        )
    height, width, step = message.height, message.width, message.step
    if len(message.data) != height * step or step < 3 * width:
        raise ContractError(
            f"image: got {len(message.data)} bytes in rows of {step}, expected {height} rows of at least {3 * width}"
        )
    rows = np.frombuffer(cast(Any, message.data), dtype=np.uint8).reshape(height, step)
    return rows[:, : 3 * width].reshape(height, width, 3)[:, :, order]


def _decompressed(message: CompressedImage) -> npt.NDArray[np.uint8]:
    data = np.frombuffer(cast(Any, message.data), dtype=np.uint8)
    bgr = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    if bgr is None:
        raise ContractError(
            f"image: got {len(data)} bytes of format {message.format!r}, expected a whole JPEG or PNG. "
            "Set the transport of the camera driver to compressed, or hear its raw images."
        )
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def image_to(image: npt.NDArray[np.uint8], time_ns: int, frame_id: str = "") -> Image:
    """An rgb8 message of an image, shape (height, width, 3)."""
    message = Image(height=image.shape[0], width=image.shape[1], encoding="rgb8", step=3 * image.shape[1])
    message.header.stamp = to_stamp(time_ns)
    message.header.frame_id = frame_id
    message.data = bytes_array(image)
    return message


def compressed_to(image: npt.NDArray[np.uint8], time_ns: int, frame_id: str = "") -> CompressedImage:
    """A JPEG message of an image, shape (height, width, 3); takes 2 ms for 640x480."""
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    message = CompressedImage(format="rgb8; jpeg compressed bgr8")
    message.header.stamp = to_stamp(time_ns)
    message.header.frame_id = frame_id
    message.data = bytes_array(data)
    return message


def depth_to(depth_mm: npt.NDArray[np.uint16], time_ns: int, frame_id: str = "") -> Image:
    """A 16UC1 message of distances along the axis, shape (height, width) [mm]; 0 where it is not known (REP 118)."""
    message = Image(height=depth_mm.shape[0], width=depth_mm.shape[1], encoding="16UC1", step=2 * depth_mm.shape[1])
    message.header.stamp = to_stamp(time_ns)
    message.header.frame_id = frame_id
    message.data = bytes_array(depth_mm.astype("<u2"))
    return message


def camera_info_to(height: int, width: int, lens: Lens | None, time_ns: int, frame_id: str = "") -> CameraInfo:
    """What is known of a camera with images of that size [px]; no lens says "not calibrated", as CameraInfo defines it."""
    message = CameraInfo(height=height, width=width, distortion_model="plumb_bob", d=[0.0] * 5)
    message.header.stamp = to_stamp(time_ns)
    message.header.frame_id = frame_id
    if lens is not None:
        (focal_x, focal_y), (centre_x, centre_y) = lens.focal_px, lens.centre_px
        message.d = list(lens.distortion)
        message.k = [focal_x, 0.0, centre_x, 0.0, focal_y, centre_y, 0.0, 0.0, 1.0]
        message.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
        message.p = [focal_x, 0.0, centre_x, 0.0, 0.0, focal_y, centre_y, 0.0, 0.0, 0.0, 1.0, 0.0]
    return message
