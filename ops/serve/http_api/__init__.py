"""The HTTP interface: health, metrics, the live page, and the Open Inference Protocol over REST."""
