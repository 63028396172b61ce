"""Programs that publish: each reloads what it wrote in a fresh process and compares numbers before it says done."""
