"""A real Go1: the vendor's SDK, the process that streams commands to it, and what damps the motors when nobody else can."""
