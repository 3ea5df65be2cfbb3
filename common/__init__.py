"""What every room may use: errors, whole-or-absent files, configs, run directories, progress. Knows no robot and no learner."""
