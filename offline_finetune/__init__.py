"""Robot logs -> data set -> Uni-O4 -> a better policy, without touching the robot. Stands on robot/ and learners/."""
