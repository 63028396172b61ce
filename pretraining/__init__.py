"""Pre-training of the small network that comes with the package: its images, its weight file, its downstream tasks."""
