"""Small models that are trained here on a CPU, and the texts that they are trained on."""
