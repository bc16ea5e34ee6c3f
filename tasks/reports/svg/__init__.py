"""Charts written as SVG, and spectrograms as pictures with axes."""
