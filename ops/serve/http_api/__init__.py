"""The HTTP wire: health, metrics, the live page, and the Open Inference Protocol's REST twin."""
