"""The policies and logs that were released with Uni-O4, as ours."""
