# The middleware settings of the graph, for programs that are started beside it: `. config/dds/local.sh`.
# `defi up` and the launch file set the same values themselves (src/defi_ros/defi_ros/bringup.py; a test compares them).
# What is already set stays.

# Camera images over shared memory and TCP: 1.7 ms in the middle for 0.9 MB at 30 Hz, against 14.6 ms by default.
export FASTDDS_BUILTIN_TRANSPORTS="${FASTDDS_BUILTIN_TRANSPORTS:-LARGE_DATA?max_msg_size=4MB&sockets_size=8MB&non_blocking=true}"

# Nodes of this machine only. A robot whose controllers run on another machine needs SUBNET.
export ROS_AUTOMATIC_DISCOVERY_RANGE="${ROS_AUTOMATIC_DISCOVERY_RANGE:-LOCALHOST}"
