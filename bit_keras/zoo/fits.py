"""Ways to make a square of an image."""

# {name: what it does}, from original pixels to a square; the resize is bilinear without antialiasing in all of them.
FITS = {
    "squash": "resized to a square whatever its aspect ratio, as in the paper",
    "pad": "the longer side resized to the square's, the rest filled with mid grey",
    "crop": "its central square resized",
}
