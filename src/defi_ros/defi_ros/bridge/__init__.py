"""Between ROS and the contract: messages, parameters, quality of service and the life of a node."""
