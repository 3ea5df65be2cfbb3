"""The trunk's velocity: by a T265 or another tracker, by the legs, and by a tracker as long as the legs agree."""
