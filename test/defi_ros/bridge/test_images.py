import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("cv2")

from sensor_msgs.msg import CompressedImage, Image

from defi_models.contract import ContractError
from defi_ros.bridge.convert import bytes_array, to_ns
from defi_ros.bridge.images import camera_info_to, compressed_to, depth_to, image_from, image_to, image_type
from defi_ros.bridge.lens import Lens


def test_an_image_survives_the_round_trip_without_a_copy_on_the_way_in():
    image = np.random.default_rng(0).integers(0, 255, (12, 8, 3), dtype=np.uint8)
    message = image_to(image, 42)
    seen = image_from(message)
    np.testing.assert_array_equal(seen, image)
    assert np.shares_memory(seen, np.frombuffer(message.data, dtype=np.uint8))
    assert to_ns(message.header.stamp) == 42


def test_a_bgr_image_with_padded_rows_is_read_as_rgb():
    rows = np.zeros((2, 8), dtype=np.uint8)
    rows[:, :6] = [[1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12]]
    message = Image(height=2, width=2, encoding="bgr8", step=8)
    message.data = bytes_array(rows)
    np.testing.assert_array_equal(image_from(message)[0], [[3, 2, 1], [6, 5, 4]])


def test_another_encoding_is_refused_by_name():
    message = image_to(np.zeros((2, 2, 3), dtype=np.uint8), 0)
    message.encoding = "yuv422"
    with pytest.raises(ContractError, match=r"got encoding 'yuv422', expected one of \['bgr8', 'rgb8'\]"):
        image_from(message)


def test_an_image_with_too_few_bytes_is_refused_with_both_numbers():
    message = image_to(np.zeros((2, 2, 3), dtype=np.uint8), 0)
    message.height = 3
    with pytest.raises(ContractError, match="got 12 bytes in rows of 6, expected 3 rows of at least 6"):
        image_from(message)


def test_a_topic_s_name_says_whether_its_images_are_compressed():
    assert image_type("camera/wrist/image_raw") is Image
    assert image_type("camera/wrist/image_raw/compressed") is CompressedImage


def test_a_compressed_image_looks_like_the_one_it_was_made_of():
    rows, columns = np.mgrid[0:48, 0:64]
    image = np.stack([4 * columns, 5 * rows, 200 + 0 * rows], axis=-1).astype(np.uint8)
    message = compressed_to(image, 42, "lens")
    assert len(message.data) < image.nbytes / 4 and message.header.frame_id == "lens"
    assert to_ns(message.header.stamp) == 42
    seen = image_from(message)
    assert seen.shape == image.shape
    assert np.abs(seen.astype(int) - image).mean() < 3.0


@pytest.mark.parametrize("data", [b"", b"no picture"])
def test_bytes_that_are_no_picture_are_refused(data):
    message = CompressedImage(format="jpeg", data=bytearray(data))
    with pytest.raises(ContractError, match=rf"got {len(data)} bytes of format 'jpeg', expected a whole JPEG or PNG"):
        image_from(message)


def test_depth_goes_out_in_millimetres():
    depth_mm = np.arange(12, dtype=np.uint16).reshape(3, 4) * 1000
    message = depth_to(depth_mm, 7)
    assert (message.encoding, message.step, message.is_bigendian) == ("16UC1", 8, 0)
    np.testing.assert_array_equal(np.frombuffer(message.data, dtype="<u2").reshape(3, 4), depth_mm)


def test_an_uncalibrated_camera_says_so():
    assert not any(camera_info_to(4, 6, None, 1).k)


def test_a_lens_is_told_with_its_centre_and_distortion():
    assert camera_info_to(5, 7, Lens.through_the_middle(5, 7, 100.0), 1).k[2] == 3.0
    message = camera_info_to(5, 7, Lens((100.0, 101.0), (3.5, 2.5), (0.1, 0.2, 0.3, 0.4, 0.5)), 1)
    assert list(message.k) == [100.0, 0.0, 3.5, 0.0, 101.0, 2.5, 0.0, 0.0, 1.0]
    assert list(message.d) == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert list(message.p)[:7] == [100.0, 0.0, 3.5, 0.0, 0.0, 101.0, 2.5]
