"""A web page that shows the lists of a bundle and their denoising."""
