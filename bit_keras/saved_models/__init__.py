"""SavedModels: written, checked and loaded."""
