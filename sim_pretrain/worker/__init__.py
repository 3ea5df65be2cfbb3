"""The process border: a simulator in an interpreter of its own, behind legged_gym's interface.

All files here but the double `mujoco_task` run on Python 3.8 too.
"""
