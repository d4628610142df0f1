"""kalie: keypoint affordances from vision-language models, and arms that act on them."""

__version__ = "0.1.0"
