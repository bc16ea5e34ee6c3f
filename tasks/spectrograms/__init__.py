"""Stage 2: decode each recording once, measure its health, compute its log-mel spectrogram."""
