"""Stage 3: windows of spectrograms, as images, through backbones."""
