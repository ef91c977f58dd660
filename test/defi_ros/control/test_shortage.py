from defi_models.contract import NS_PER_S
from defi_ros.control.shortage import ChunkShortage


def test_nobody_knowing_a_cause_is_said_too():
    shortage = ChunkShortage()
    assert shortage.why(0.4, 0).endswith("silent, and neither says why")
    assert shortage.why(None, 0) == "waiting for the first action chunk whose observation is newer than the handover"


def test_what_a_node_tells_stands_until_it_tells_otherwise():
    shortage = ChunkShortage()
    shortage.tell("imagination_node", "camera 'static': is black")
    assert shortage.why(0.4, 0) == "no action chunk for 0.40 s: imagination_node: camera 'static': is black"
    assert shortage.why(None, 0).endswith("; imagination_node: camera 'static': is black")
    shortage.tell("imagination_node", "")
    assert "is black" not in shortage.why(0.4, 0)


def test_a_refusal_counts_for_a_second():
    shortage = ChunkShortage()
    shortage.refuse("chunk is for arm 'ur5e'", 0)
    assert shortage.why(0.4, NS_PER_S // 2) == "no usable action chunk for 0.40 s: chunk is for arm 'ur5e'"
    assert shortage.why(None, NS_PER_S // 2).endswith("; refused: chunk is for arm 'ur5e'")
    assert "ur5e" not in shortage.why(1.4, NS_PER_S)
    assert "ur5e" not in shortage.why(0.4, -1)  # a clock that was set back


def test_the_cause_nearest_to_the_camera_comes_first():
    shortage = ChunkShortage()
    shortage.refuse("chunk's observation is 1.20 s old, limit 1 s", 0)
    shortage.tell("imagination_node", "imagining has taken 0.9 s so far, limit 0.3 s")
    assert shortage.why(0.4, 0) == (
        "no usable action chunk for 0.40 s: imagination_node: imagining has taken 0.9 s so far, limit 0.3 s; "
        "chunk's observation is 1.20 s old, limit 1 s"
    )
