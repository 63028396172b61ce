"""Pre-training of the small network that comes with the package: its images, its run, its few-shot sweep."""
