"""The ROS 2 node of a Go1: rclpy around robot/, and nothing else."""
