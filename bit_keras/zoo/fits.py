"""Ways to make a square of an image."""

# {name: what it does}, from original pixels to a square; the resize is bilinear without antialiasing in all of them.
FITS = {
    "squash": "resized to a square whatever its aspect ratio, as in the paper",
    "pad": "the longer side resized to the square's, the rest filled with mid grey",
    "crop": "its central square resized",
    "inner": "the inner 15/16 of its central square resized, as 480 of 512 pixels are for ObjectNet in the paper",
}
# Sides of the part of an image that is kept, as a fraction (numerator, denominator) of its shorter side.
CENTRAL = {"crop": (1, 1), "inner": (15, 16)}
