"""The algorithms, for any control task. Knows no robot, no simulator and no file format of ours."""
