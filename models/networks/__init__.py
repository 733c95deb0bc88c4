"""Networks that users bring: made by their factories, with weights from files or from saved states."""
